//! What can be wrong with an IMA list.

use hallmark_reason::{Coded, ReasonCode};

/// Why an IMA list was refused. `line` counts from 0, from the beginning of the bytes that were given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImaError {
    /// The list ends within a line.
    #[error("line {line} of the IMA list is cut off within its {field}")]
    Truncated {
        /// The line.
        line: u64,
        /// The field.
        field: &'static str,
    },
    /// A field is longer than any that the kernel writes.
    #[error("line {line} of the IMA list has a {field} that is too long")]
    TooLong {
        /// The line.
        line: u64,
        /// The field.
        field: &'static str,
        /// The limit, in bytes.
        limit: usize,
        /// The length found.
        actual: usize,
    },
    /// The template is none of the kernel's.
    #[error("line {line} of the IMA list has a template that is not known")]
    Template {
        /// The line.
        line: u64,
        /// Its name.
        name: String,
    },
    /// A line is not of its template's form.
    #[error("line {line} of the IMA list is malformed: {detail}")]
    Malformed {
        /// The line.
        line: u64,
        /// What is wrong.
        detail: &'static str,
    },
    /// The recorded template hash is not the one of the line's fields.
    #[error("line {line} of the IMA list does not have the hash that is recorded for it")]
    TemplateHash {
        /// The line.
        line: u64,
        /// The hash of the fields, hex.
        computed: String,
        /// The recorded hash, hex.
        recorded: String,
    },
}

impl Coded for ImaError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Truncated { .. } => ReasonCode::new("HM-EVID-0301"),
            Self::TooLong { .. } => ReasonCode::new("HM-EVID-0302"),
            Self::Template { .. } => ReasonCode::new("HM-EVID-0303"),
            Self::Malformed { .. } => ReasonCode::new("HM-EVID-0304"),
            Self::TemplateHash { .. } => ReasonCode::new("HM-EVID-0305"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLong { limit, actual, .. } => Some(format!("limit {limit}, found {actual}")),
            Self::Template { name, .. } => Some(format!("found {name:?}")),
            Self::TemplateHash { computed, recorded, .. } => Some(format!("computed {computed}, recorded {recorded}")),
            Self::Truncated { .. } | Self::Malformed { .. } => None,
        }
    }
}
