//! Why a step in the life of an authority is refused.

use std::fmt;

use hallmark_reason::{Coded, ReasonCode};

use crate::AuthorityState;

/// What an authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthorityKind {
    /// X509-SVIDs.
    X509,
    /// JWT-SVIDs.
    Jwt,
}

impl AuthorityKind {
    /// The kind's name in records, labels and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Jwt => "jwt",
        }
    }
}

/// As people write it.
impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X509 => "X.509",
            Self::Jwt => "JWT",
        })
    }
}

/// Why a step in the life of an authority is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityStepError {
    /// No authority has this id.
    #[error("no {kind} authority has the id {key_id:?}")]
    Unknown {
        /// What it would sign.
        kind: AuthorityKind,
        /// The id.
        key_id: String,
    },
    /// An authority with this id is there.
    #[error("there is a {kind} authority with the id {key_id:?} already")]
    Known {
        /// What it signs.
        kind: AuthorityKind,
        /// The id.
        key_id: String,
    },
    /// A prepared authority waits already.
    #[error("a {kind} authority is prepared already: {key_id}")]
    Prepared {
        /// What it will sign.
        kind: AuthorityKind,
        /// Its id.
        key_id: String,
    },
    /// No authority is prepared.
    #[error("no {kind} authority is prepared")]
    NonePrepared {
        /// What it would sign.
        kind: AuthorityKind,
    },
    /// The authority stands elsewhere in its life.
    #[error("the {kind} authority {key_id} cannot be {act}")]
    State {
        /// What it signs.
        kind: AuthorityKind,
        /// Its id.
        key_id: String,
        /// What was asked for.
        act: &'static str,
        /// Where it would have to stand.
        expected: &'static str,
        /// Where it stands.
        found: AuthorityState,
    },
    /// A certificate that is to be an authority's does not read.
    #[error("the certificate of an X.509 authority does not read")]
    Unreadable,
}

impl Coded for AuthorityStepError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unknown { .. } => ReasonCode::new("HM-REG-0120"),
            Self::Known { .. } => ReasonCode::new("HM-REG-0121"),
            Self::Prepared { .. } => ReasonCode::new("HM-REG-0122"),
            Self::State { .. } => ReasonCode::new("HM-REG-0123"),
            Self::NonePrepared { .. } => ReasonCode::new("HM-REG-0124"),
            Self::Unreadable => ReasonCode::new("HM-REG-0106"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::State { expected, found, .. } => Some(format!("expected {expected}, found {}", found.as_str())),
            _ => None,
        }
    }
}
