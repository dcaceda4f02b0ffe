//! What can be wrong with a policy file.

use hallmark_reason::{Coded, ReasonCode, nearest};

use super::Policy;

/// A policy file that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file is no TOML, or a value is of the wrong kind or outside its range.
    #[error("{file}:{line}: {key}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, with its table.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A key that does not exist.
    #[error("{file}:{line}: there is no key `{key}` here")]
    UnknownKey {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("{file}:{line}: the key `{key}` is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The line of the table that lacks it, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// The file is written for another version of this format.
    #[error("{file}: the policy has another version")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: i64,
    },
    /// It demands nothing.
    #[error("{file}: the policy {name} has no rule")]
    NoRule {
        /// The file.
        file: String,
        /// The policy.
        name: String,
    },
    /// It is too large, or no text.
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
            Self::Invalid { .. } => ReasonCode::new("HM-POLICY-0401"),
            Self::UnknownKey { .. } => ReasonCode::new("HM-POLICY-0402"),
            Self::MissingKey { .. } => ReasonCode::new("HM-POLICY-0403"),
            Self::Version { .. } => ReasonCode::new("HM-POLICY-0404"),
            Self::NoRule { .. } => ReasonCode::new("HM-POLICY-0405"),
            Self::Unreadable { .. } => ReasonCode::new("HM-POLICY-0406"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known, .. } => Some(format!("found {key}, known are {}", known.join(", "))),
            Self::Version { found, .. } => Some(format!("version = {found}, this program reads 1")),
            Self::Unreadable { cause, .. } => Some(cause.clone()),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKey { key, known, .. } => match nearest(key, known) {
                Some(meant) => format!("write `{meant}` instead of `{key}`"),
                None => format!("remove `{key}`, or move it to its table"),
            },
            Self::MissingKey { key, .. } => format!("add `{key} = …`"),
            Self::Invalid { file, .. } | Self::Unreadable { file, .. } => {
                format!("correct it; then hallmark policy check {file}")
            }
            Self::Version { .. } | Self::NoRule { .. } => return None,
        })
    }
}
