//! What can be wrong with a settings file.

use hallmark_reason::{Coded, ReasonCode, nearest};

/// A settings file that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Not valid TOML, or a value of the wrong type or out of range.
    #[error("{file}:{line}: {}{message}", before(key))]
    Invalid {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key with its tables; empty where none is at fault.
        key: String,
        /// What is wrong.
        message: String,
        /// The command that checks the file.
        check: &'static str,
    },
    /// A key that does not exist.
    #[error("{file}:{line}: unknown key `{key}`")]
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
    /// The file is written for another version of its format.
    #[error("{file}: version {found} of this file is not supported")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: i64,
    },
    /// A variable of the environment that names no key, or whose value the key cannot have.
    #[error("{name}: {message}")]
    Environment {
        /// The variable, or several.
        name: String,
        /// What is wrong.
        message: String,
    },
}

fn before(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("{key}: "),
    }
}

impl Coded for SettingsError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Invalid { .. } => ReasonCode::new("HM-CONF-0002"),
            Self::UnknownKey { .. } => ReasonCode::new("HM-CONF-0003"),
            Self::MissingKey { .. } => ReasonCode::new("HM-CONF-0004"),
            Self::Version { .. } => ReasonCode::new("HM-CONF-0005"),
            Self::Environment { .. } => ReasonCode::new("HM-CONF-0011"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known, .. } => Some(format!("found {key}, known are {}", known.join(", "))),
            Self::Version { found, .. } => Some(format!("version = {found}, this program reads 1")),
            Self::Invalid { .. } | Self::MissingKey { .. } | Self::Environment { .. } => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Invalid { file, check, .. } => format!("correct it; then {check} {file}"),
            Self::UnknownKey { key, known, .. } => match nearest(key, known) {
                Some(meant) => format!("write `{meant}` instead of `{key}`"),
                None => format!("remove `{key}`, or move it to its table"),
            },
            Self::MissingKey { key, .. } => format!("add `{key} = …`"),
            Self::Environment { name, .. } => {
                format!("unset {name}, or correct it: its value is read as in the file, text may go without quotes")
            }
            Self::Version { .. } => return None,
        })
    }
}
