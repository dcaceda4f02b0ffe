//! Why a step of a key that signs JWT-SVIDs is refused.

use hallmark_reason::{Coded, ReasonCode};

use crate::AuthorityState;

/// Why a step of a key that signs JWT-SVIDs is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// No key has this id.
    #[error("no JWT authority has the id {key_id:?}")]
    Unknown {
        /// The id.
        key_id: String,
    },
    /// A key with this id is there.
    #[error("there is a JWT authority with the id {key_id:?} already")]
    Known {
        /// The id.
        key_id: String,
    },
    /// A prepared key waits already.
    #[error("a JWT authority is prepared already: {key_id}")]
    Prepared {
        /// Its id.
        key_id: String,
    },
    /// No key is prepared.
    #[error("no JWT authority is prepared")]
    NonePrepared,
    /// The key stands elsewhere in its life.
    #[error("the JWT authority {key_id} cannot be {act}")]
    State {
        /// Its id.
        key_id: String,
        /// What was asked for.
        act: &'static str,
        /// Where it would have to stand.
        expected: &'static str,
        /// Where it stands.
        found: AuthorityState,
    },
}

impl Coded for JwtKeyError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Unknown { .. } => ReasonCode::new("HM-REG-0120"),
            Self::Known { .. } => ReasonCode::new("HM-REG-0121"),
            Self::Prepared { .. } => ReasonCode::new("HM-REG-0122"),
            Self::State { .. } => ReasonCode::new("HM-REG-0123"),
            Self::NonePrepared => ReasonCode::new("HM-REG-0124"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::State { expected, found, .. } => Some(format!("expected {expected}, found {}", found.as_str())),
            _ => None,
        }
    }
}
