//! What can be wrong with a configuration.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_settings::EnvironmentError;

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
    /// No TOML, an unknown or missing key, or a value of the wrong kind.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what is known there.
        message: String,
    },
    /// The file is written for another version of this format.
    #[error("{}: the configuration has another version", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
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
    /// A variable that names no key, or whose value the key cannot have.
    #[error("the environment sets {name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A value that cannot be.
    #[error("{key} is not acceptable: {detail}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Neither or both ways to recognise the server.
    #[error("[server] needs exactly one of trust_bundle and insecure_bootstrap = true")]
    Bootstrap {
        /// Whether both are there.
        both: bool,
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

impl From<EnvironmentError> for ConfigError {
    fn from(error: EnvironmentError) -> Self {
        Self::Environment {
            name: error.name,
            message: error.message,
        }
    }
}

impl Coded for ConfigError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unreadable { .. } => ReasonCode::new("HM-CONF-0101"),
            Self::Syntax { .. } => ReasonCode::new("HM-CONF-0102"),
            Self::Version { .. } => ReasonCode::new("HM-CONF-0103"),
            Self::Value { .. } => ReasonCode::new("HM-CONF-0104"),
            Self::Bootstrap { .. } => ReasonCode::new("HM-CONF-0105"),
            Self::TrustBundle { .. } => ReasonCode::new("HM-CONF-0106"),
            Self::Changeable { .. } => ReasonCode::new("HM-CONF-0107"),
            Self::Environment { .. } => ReasonCode::new("HM-CONF-0108"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreadable { detail, .. } | Self::TrustBundle { detail, .. } => Some(detail.clone()),
            Self::Changeable { exposed, .. } => Some(exposed.clone()),
            Self::Version { found, .. } => Some(format!("version = {found}, this program reads 1")),
            Self::Bootstrap { both } => Some(format!("expected one, found {}", if *both { "both" } else { "none" })),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::Changeable { path, .. } => format!(
                "namei -l {0}; chown it to the agent's user or to root, chmod go-w {0}; check it as the agent's user",
                path.display()
            ),
            Self::Environment { name, .. } => format!("unset {name}, or correct it: hallmark-agent config explain"),
            Self::TrustBundle { path, .. } => format!(
                "on the server: hallmark bundle show --format pem > bundle.pem; copy it to {}",
                path.display()
            ),
            _ => return None,
        })
    }
}
