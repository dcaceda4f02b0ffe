//! What can be wrong with a policy file.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_settings::SettingsError;

use super::Policy;

/// A policy file that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file's form.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It demands nothing.
    #[error("{file}: the policy {name} has no rule")]
    NoRule {
        /// The file.
        file: String,
        /// The policy.
        name: String,
    },
    /// It is too large, or not text.
    #[error("{file}: the policy cannot be read")]
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong.
        cause: String,
    },
}

impl PolicyError {
    pub(super) fn too_large(file: &str, actual: usize) -> Self {
        Self::Unreadable {
            file: file.to_owned(),
            cause: format!("it has {actual} bytes, at most {} are read", Policy::MAX_BYTES),
        }
    }
}

impl Coded for PolicyError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Settings(error) => error.code(),
            Self::NoRule { .. } => ReasonCode::new("HM-POLICY-0405"),
            Self::Unreadable { .. } => ReasonCode::new("HM-POLICY-0406"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Settings(error) => Some(error),
            Self::NoRule { .. } | Self::Unreadable { .. } => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Unreadable { cause, .. } => Some(cause.clone()),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        match self {
            Self::Unreadable { file, .. } => Some(format!("correct it; then hallmark policy check {file}")),
            _ => None,
        }
    }
}
