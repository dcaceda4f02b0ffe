//! What can be wrong with a configuration.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hallmark_node::InventoryError;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_settings::SettingsError;
use hallmark_upstream::{CaError, FileRootError};
use hallmark_verify::TrustError;

/// A configuration that the server does not start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The file's form, or the environment's.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two values contradict each other.
    #[error("{}: {message}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        message: String,
        /// Both values.
        compared: String,
    },
    /// A secret's file cannot be read, or is empty or not text.
    #[error("the secret for {key} cannot be read from {}", path.display())]
    SecretUnreadable {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong; never the content.
        cause: String,
    },
    /// Others than the server's user and root may read a secret, change it, or put theirs in its place.
    #[error("others may use or replace the secret for {key}")]
    SecretExposed {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Where, and who.
        exposed: String,
    },
    /// Others than the server's user and root may change a file that the server trusts.
    #[error("others can change what the server trusts: {key}")]
    Changeable {
        /// The key, or what the file is.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Where, and who.
        exposed: String,
    },
    /// A credential is referred to, but systemd passed none.
    #[error("{key} refers to the credential {name}, and there are no credentials")]
    NoCredentials {
        /// The key.
        key: &'static str,
        /// The credential.
        name: String,
    },
    /// A file or folder of roots, or the inventory, cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    TrustUnreadable {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The issuer of JWT-SVIDs is none that verifiers of OpenID Connect can look up.
    #[error("authority.jwt_issuer is not an issuer of OpenID Connect: {why}")]
    Issuer {
        /// What it is.
        issuer: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Keys would be served without TLS over a network.
    #[error("oidc.listen serves plain HTTP on an address that others reach")]
    PlainHttp {
        /// The address.
        listen: SocketAddr,
    },
    /// The certificate of a listener cannot be used.
    #[error("oidc.certificate: {} cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// What is said of the authority above is not complete, or contradicts itself.
    #[error("{}: {message}", path.display())]
    Upstream {
        /// The file.
        path: PathBuf,
        /// What contradicts what.
        message: String,
    },
    /// The root in files, which signs this server's authorities, cannot be used.
    #[error("[upstream.file]: {0}")]
    UpstreamRoot(FileRootError),
    /// An enterprise authority above cannot be spoken with as configured.
    #[error("[upstream]: {0}")]
    UpstreamCa(CaError),
    /// The file is no inventory.
    #[error("attestation.tpm2.ek_inventory: {}: {source}", path.display())]
    Inventory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InventoryError,
    },
    /// A file of roots cannot be used.
    #[error("{source}")]
    Trust {
        /// What is wrong.
        #[from]
        source: TrustError,
    },
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            cause: error.to_string(),
        }
    }
}

impl Coded for ConfigError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unreadable { .. } => ReasonCode::new("HM-CONF-0001"),
            Self::Contradiction { .. } => ReasonCode::new("HM-CONF-0006"),
            Self::SecretUnreadable { .. } => ReasonCode::new("HM-CONF-0008"),
            Self::NoCredentials { .. } => ReasonCode::new("HM-CONF-0009"),
            Self::TrustUnreadable { .. } => ReasonCode::new("HM-CONF-0010"),
            Self::Settings(error) => error.code(),
            Self::SecretExposed { .. } => ReasonCode::new("HM-CONF-0012"),
            Self::Changeable { .. } => ReasonCode::new("HM-CONF-0013"),
            Self::Issuer { .. } => ReasonCode::new("HM-CONF-0110"),
            Self::PlainHttp { .. } => ReasonCode::new("HM-CONF-0111"),
            Self::Certificate { .. } => ReasonCode::new("HM-CONF-0112"),
            Self::Upstream { .. } => ReasonCode::new("HM-CONF-0113"),
            Self::UpstreamRoot(error) => error.code(),
            Self::UpstreamCa(error) => error.code(),
            Self::Inventory { source, .. } => source.code(),
            Self::Trust { source } => source.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Settings(error) => Some(error),
            Self::UpstreamRoot(error) => Some(error),
            Self::UpstreamCa(error) => Some(error),
            Self::Inventory { source, .. } => Some(source),
            Self::Trust { source } => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreadable { cause, .. }
            | Self::SecretUnreadable { cause, .. }
            | Self::TrustUnreadable { cause, .. }
            | Self::Certificate { cause, .. } => Some(cause.clone()),
            Self::Issuer { issuer, .. } => Some(format!("expected such as https://oidc.example.org, found {issuer:?}")),
            Self::PlainHttp { listen } => Some(format!("expected a loopback address or unix:PATH, found {listen}")),
            Self::SecretExposed { exposed, .. } | Self::Changeable { exposed, .. } => Some(exposed.clone()),
            Self::Contradiction { compared, .. } => Some(compared.clone()),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, .. }
            | Self::SecretUnreadable { path, .. }
            | Self::TrustUnreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::Certificate { path, .. } => format!("openssl x509 -noout -text -in {}", path.display()),
            Self::SecretExposed { path, .. } => format!(
                "namei -l {0}; chown it to the server's user or to root, chmod 600 {0}; check it as the server's user",
                path.display()
            ),
            Self::Changeable { path, .. } => format!(
                "namei -l {0}; chown it to the server's user or to root, chmod go-w {0}; check it as the server's user",
                path.display()
            ),
            Self::NoCredentials { name, .. } => format!("add LoadCredential={name}:/path to the unit, or use file:"),
            _ => return None,
        })
    }
}
