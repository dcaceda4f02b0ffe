//! Why a policy or baseline was not applied.

use hallmark_policy::{RuleFileError, signed::SignedFileError};
use hallmark_reason::{Coded, ReasonCode};
use hallmark_store::StoreError;

use crate::journal::Unreadable;

/// Why a policy or baseline was not applied or withdrawn. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// It is not signed, and operators' keys are configured.
    #[error("the file is not signed, and this server takes only signed ones")]
    NotSigned {
        /// The keys that may sign.
        keys: Vec<String>,
    },
    /// What signed files put in force is taken back by signed files alone.
    #[error("this server takes only signed files, and a withdrawal has no signature")]
    Withdrawal {
        /// The keys that may sign.
        keys: Vec<String>,
    },
    /// There is none with this name in force.
    #[error("no {kind} named {name} is in force")]
    NotInForce {
        /// `policy` or `baseline`.
        kind: String,
        /// The name that was asked for.
        name: String,
        /// The names that are.
        in_force: Vec<String>,
    },
    /// The signed file is not good, or is older than what is in force.
    #[error(transparent)]
    Signed(#[from] SignedFileError),
    /// It is not of its kind.
    #[error(transparent)]
    File(#[from] RuleFileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept of one node does not read back.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Coded for PolicyFileError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotSigned { .. } => ReasonCode::new("HM-SRV-0321"),
            Self::Withdrawal { .. } => ReasonCode::new("HM-SRV-0322"),
            Self::NotInForce { .. } => ReasonCode::new("HM-SRV-0323"),
            Self::Unreadable(error) => error.code(),
            Self::Stopping => ReasonCode::new("HM-SRV-0324"),
            Self::Signed(error) => error.code(),
            Self::File(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Signed(error) => Some(error),
            Self::File(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NotSigned { keys } | Self::Withdrawal { keys } => {
                Some(format!("keys that may sign: {}", keys.join(", ")))
            }
            Self::NotInForce { name, in_force, .. } => Some(format!(
                "asked for {name}, in force are: {}",
                if in_force.is_empty() {
                    "none".to_owned()
                } else {
                    in_force.join(", ")
                }
            )),
            _ => self.inner()?.compared(),
        }
    }
}
