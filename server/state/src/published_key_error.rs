//! Why a key of a server below this one does not come into the bundle.

use hallmark_reason::{Coded, ReasonCode};

/// Why a key of a server below this one does not come into the bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishedKeyError {
    /// A key with this id is there: this trust domain's own, another server's, or another key of the same one.
    #[error("there is another JWT authority with the id {key_id:?}")]
    IdTaken {
        /// The id.
        key_id: String,
    },
    /// The key is there with another id.
    #[error("the key of the JWT authority {key_id:?} is in the bundle with another id")]
    KeyTaken {
        /// The id that was given.
        key_id: String,
        /// The id that it has.
        known_as: String,
    },
    /// It has ended, or does not say when it does, or lasts longer than is allowed.
    #[error("the JWT authority {key_id:?} ends at a time that is not allowed")]
    Expiry {
        /// Its id.
        key_id: String,
        /// When it ends, in Unix seconds.
        expires_at: i64,
        /// Now, in Unix seconds.
        now: i64,
        /// The latest that is allowed, in Unix seconds.
        latest: i64,
    },
    /// There are as many as there may be.
    #[error("there are too many JWT authorities of {of}")]
    TooMany {
        /// Of whom.
        of: String,
        /// How many there may be.
        most: usize,
    },
}

impl Coded for PublishedKeyError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::IdTaken { .. } => ReasonCode::new("HM-REG-0107"),
            Self::KeyTaken { .. } => ReasonCode::new("HM-REG-0108"),
            Self::Expiry { .. } => ReasonCode::new("HM-REG-0109"),
            Self::TooMany { .. } => ReasonCode::new("HM-REG-0110"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::IdTaken { .. } => return None,
            Self::KeyTaken { key_id, known_as } => format!("published as {key_id}, known as {known_as}"),
            Self::Expiry {
                expires_at,
                now,
                latest,
                ..
            } => format!(
                "ends at {expires_at}, now {now}, at the latest {latest} (Unix seconds; `authority.downstream_ttl_max`)"
            ),
            Self::TooMany { most, .. } => format!("at most {most} allowed"),
        })
    }
}
