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

    fn likely_cause(&self) -> Option<String> {
        let cause = match self {
            Self::Malformed { .. } => "another file, or digests of SHA-1 or MD5, which prove nothing",
            Self::TooLarge { .. } => "another file, or a list of more than one image",
            Self::Empty => "another file, or the command that made the list found no file",
        };
        Some(cause.to_owned())
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Malformed { .. } | Self::Empty => {
                "make it anew in the image's root: find . -type f -exec sha256sum {} +"
            }
            Self::TooLarge { .. } => "make one list for each image, and name them all in the policy",
        };
        Some(step.to_owned())
    }
}
