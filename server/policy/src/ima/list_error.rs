//! What can be wrong with a list of digests.

use hallmark_reason::{Coded, ReasonCode};

use super::DigestList;

/// A list of digests that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestListError {
    /// A line is none of the forms that are read, or the file is not what it seems.
    #[error("the list of digests is malformed at line {line}: {what}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It is too large.
    #[error("the list of digests is too large")]
    TooLarge {
        /// Its length, in bytes.
        actual: usize,
    },
    /// There is no digest in it.
    #[error("the list of digests is empty")]
    Empty,
}

impl DigestListError {
    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            what: error.to_string(),
        }
    }
}

impl Coded for DigestListError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Malformed { .. } => ReasonCode::new("HM-POLICY-0221"),
            Self::TooLarge { .. } => ReasonCode::new("HM-POLICY-0222"),
            Self::Empty => ReasonCode::new("HM-POLICY-0223"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { actual } => Some(format!("at most {} bytes, found {actual}", DigestList::MAX_BYTES)),
            Self::Malformed { .. } | Self::Empty => None,
        }
    }
}
