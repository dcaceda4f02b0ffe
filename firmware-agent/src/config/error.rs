//! What can be wrong with a configuration.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_settings::SettingsError;

/// A configuration that the agent does not start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The file's form, or the environment's.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Others than the agent's user and root may change a file that the agent trusts.
    #[error("others can change what the agent trusts: {key}")]
    Changeable {
        /// The key, or what the file is.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Where, and who.
        exposed: String,
    },
    /// Neither or both ways to recognise the server.
    #[error("[server] needs exactly one of trust_bundle and insecure_bootstrap = true")]
    Bootstrap {
        /// Whether both are there.
        both: bool,
    },
    /// A secret that a key refers to cannot be used.
    #[error("the secret that {key} refers to cannot be used: {}", path.display())]
    Secret {
        /// The key.
        key: &'static str,
        /// The secret's file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A key refers to a credential of systemd, and there are none.
    #[error("{key} refers to the credential {name}, and the agent has no credentials")]
    NoCredentials {
        /// The key.
        key: &'static str,
        /// The credential's name.
        name: String,
    },
    /// The bundle file cannot be used.
    #[error("the trust bundle {} cannot be used", path.display())]
    TrustBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl Coded for ConfigError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unreadable { .. } => ReasonCode::new("HM-CONF-0101"),
            Self::Settings(error) => error.code(),
            Self::Bootstrap { .. } => ReasonCode::new("HM-CONF-0105"),
            Self::TrustBundle { .. } => ReasonCode::new("HM-CONF-0106"),
            Self::Changeable { .. } => ReasonCode::new("HM-CONF-0107"),
            Self::Secret { .. } => ReasonCode::new("HM-CONF-0108"),
            Self::NoCredentials { .. } => ReasonCode::new("HM-CONF-0109"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Settings(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreadable { detail, .. } | Self::TrustBundle { detail, .. } => Some(detail.clone()),
            Self::Changeable { exposed, .. } => Some(exposed.clone()),
            Self::Secret { cause, .. } => Some(cause.clone()),
            Self::NoCredentials { .. } => None,
            Self::Bootstrap { both } => Some(format!("expected one, found {}", if *both { "both" } else { "none" })),
            Self::Settings(error) => error.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::Changeable { path, .. } => format!(
                "namei -l {0}; chown it to the agent's user or to root, chmod go-w {0}; check it as the agent's user",
                path.display()
            ),
            Self::Secret { path, .. } => format!(
                "namei -l {0}; it holds the value alone, belongs to the agent's user or root, and has mode 0600",
                path.display()
            ),
            Self::NoCredentials { name, .. } => format!("add LoadCredential={name}:/path to the unit, or use file:"),
            Self::TrustBundle { path, .. } => format!(
                "on the server: hallmark bundle show --format pem > bundle.pem; copy it to {}",
                path.display()
            ),
            _ => return None,
        })
    }
}
