//! What can be wrong with a configuration.

use std::path::{Path, PathBuf};

use hallmark_node::InventoryError;
use hallmark_reason::{Coded, ReasonCode, nearest};
use hallmark_settings::EnvironmentError;
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
    /// The file is no TOML, or a value is of the wrong kind or outside its range.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A key that does not exist.
    #[error("{}:{line}: there is no key `{key}` here", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A variable of the environment that sets a key is not acceptable.
    #[error("{name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A key that must be there is not.
    #[error("{}:{line}: the key `{key}` is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The line of the table that lacks it, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// The file is written for another version of this format.
    #[error("{}: the configuration has another version", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
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
    /// A secret is written into the file, or its reference has another form.
    #[error("{} is no reference to a secret", key)]
    SecretReference {
        /// The key.
        key: &'static str,
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
            Self::Unreadable { .. } => ReasonCode::new("HM-CONF-0001"),
            Self::Invalid { .. } => ReasonCode::new("HM-CONF-0002"),
            Self::UnknownKey { .. } => ReasonCode::new("HM-CONF-0003"),
            Self::MissingKey { .. } => ReasonCode::new("HM-CONF-0004"),
            Self::Version { .. } => ReasonCode::new("HM-CONF-0005"),
            Self::Contradiction { .. } => ReasonCode::new("HM-CONF-0006"),
            Self::SecretReference { .. } => ReasonCode::new("HM-CONF-0007"),
            Self::SecretUnreadable { .. } => ReasonCode::new("HM-CONF-0008"),
            Self::NoCredentials { .. } => ReasonCode::new("HM-CONF-0009"),
            Self::TrustUnreadable { .. } => ReasonCode::new("HM-CONF-0010"),
            Self::Environment { .. } => ReasonCode::new("HM-CONF-0011"),
            Self::SecretExposed { .. } => ReasonCode::new("HM-CONF-0012"),
            Self::Changeable { .. } => ReasonCode::new("HM-CONF-0013"),
            Self::Inventory { source, .. } => source.code(),
            Self::Trust { source } => source.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Inventory { source, .. } => Some(source),
            Self::Trust { source } => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreadable { cause, .. }
            | Self::SecretUnreadable { cause, .. }
            | Self::TrustUnreadable { cause, .. } => Some(cause.clone()),
            Self::SecretExposed { exposed, .. } | Self::Changeable { exposed, .. } => Some(exposed.clone()),
            Self::UnknownKey { key, known, .. } => Some(format!("found {key}, known are {}", known.join(", "))),
            Self::Version { found, .. } => Some(format!("version = {found}, this program reads 1")),
            Self::Contradiction { compared, .. } => Some(compared.clone()),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, .. }
            | Self::SecretUnreadable { path, .. }
            | Self::TrustUnreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::SecretExposed { path, .. } => format!(
                "namei -l {0}; chown it to the server's user or to root, chmod 600 {0}; check it as the server's user",
                path.display()
            ),
            Self::Changeable { path, .. } => format!(
                "namei -l {0}; chown it to the server's user or to root, chmod go-w {0}; check it as the server's user",
                path.display()
            ),
            Self::UnknownKey { key, known, .. } => match nearest(key, known) {
                Some(meant) => format!("write `{meant}` instead of `{key}`"),
                None => format!("remove `{key}`, or move it to its table"),
            },
            Self::MissingKey { key, .. } => format!("add `{key} = …`"),
            Self::Environment { name, .. } => {
                format!("unset {name}, or correct it: its value is read as in the file, text may go without quotes")
            }
            Self::SecretReference { key } => format!("{key} = \"file:/path\" or \"credential:NAME\""),
            Self::NoCredentials { name, .. } => format!("add LoadCredential={name}:/path to the unit, or use file:"),
            _ => return None,
        })
    }
}
