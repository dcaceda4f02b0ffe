//! Why a token, or a key for tokens, is refused.

use hallmark_reason::{Coded, ReasonCode};

use super::{JwtAlgorithm, JwtAuthority, LEEWAY_SECONDS, MAX_TOKEN_LEN};
use crate::{IdError, SpiffeId, TrustDomain};

/// Why a token, or a key for tokens, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Longer than [`MAX_TOKEN_LEN`].
    #[error("the token is too large")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// No JWS in compact form with a JSON header and JSON claims.
    #[error("the token is not a JWT in compact form: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// An `alg` that JWT-SVIDs are not signed with.
    #[error("the token's algorithm is not one of the JWT-SVID standard")]
    Algorithm,
    /// A `typ` of another kind of token.
    #[error("the token is of another type")]
    Type {
        /// Its beginning.
        found: String,
    },
    /// A claim that is missing, or of another kind than the standard says.
    #[error("the token's claim {name:?} is missing or malformed")]
    Claim {
        /// Its name.
        name: &'static str,
    },
    /// A subject that is no SPIFFE ID.
    #[error("the token's subject: {0}")]
    Subject(#[source] IdError),
    /// A subject without a path, as a trust domain's authority has it.
    #[error("the token's subject {id} names no workload")]
    SubjectIsTrustDomain {
        /// The subject.
        id: SpiffeId,
    },
    /// No bundle of the subject's trust domain.
    #[error("nothing is known of the trust domain {trust_domain}")]
    NoBundle {
        /// Which.
        trust_domain: TrustDomain,
    },
    /// No JWT key with the token's `kid`, or none at all.
    #[error("no JWT key of {trust_domain} has the token's key id")]
    UnknownKey {
        /// Whose keys were looked at.
        trust_domain: TrustDomain,
        /// The beginning of the `kid`; `None` where the token names none.
        key_id: Option<String>,
    },
    /// The key does not sign with the token's algorithm.
    #[error("the token's key does not sign with {found}")]
    OtherAlgorithm {
        /// The token's.
        found: JwtAlgorithm,
    },
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// The token is for others.
    #[error("the token is not for this audience")]
    Audience {
        /// Who validates.
        expected: String,
        /// For whom it is.
        found: String,
    },
    /// The token has ended.
    #[error("the token has expired")]
    Expired {
        /// Unix seconds.
        now: i64,
        /// Unix seconds.
        expires_at: i64,
    },
    /// The token has not begun.
    #[error("the token is not valid yet")]
    NotYetValid {
        /// Unix seconds.
        now: i64,
        /// Unix seconds.
        not_before: i64,
    },
    /// A key of a kind that JWT-SVIDs are not signed with, or none.
    #[error("the key is none that JWT-SVIDs are verified with")]
    Key,
    /// A key id that is empty, too long or not printable ASCII.
    #[error("the key id cannot be used")]
    KeyId {
        /// Its length in bytes.
        len: usize,
    },
}

impl Coded for JwtError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::new("HM-ID-0090"),
            Self::Malformed { .. } => ReasonCode::new("HM-ID-0091"),
            Self::Algorithm => ReasonCode::new("HM-ID-0092"),
            Self::Type { .. } => ReasonCode::new("HM-ID-0093"),
            Self::Claim { .. } => ReasonCode::new("HM-ID-0094"),
            Self::Subject(_) | Self::SubjectIsTrustDomain { .. } => ReasonCode::new("HM-ID-0095"),
            Self::NoBundle { .. } => ReasonCode::new("HM-ID-0096"),
            Self::UnknownKey { .. } => ReasonCode::new("HM-ID-0097"),
            Self::OtherAlgorithm { .. } => ReasonCode::new("HM-ID-0098"),
            Self::Signature => ReasonCode::new("HM-ID-0099"),
            Self::Audience { .. } => ReasonCode::new("HM-ID-0100"),
            Self::Expired { .. } => ReasonCode::new("HM-ID-0101"),
            Self::NotYetValid { .. } => ReasonCode::new("HM-ID-0102"),
            Self::Key => ReasonCode::new("HM-ID-0103"),
            Self::KeyId { .. } => ReasonCode::new("HM-ID-0104"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { len } => Some(format!("{len} bytes, at most {MAX_TOKEN_LEN} allowed")),
            Self::Type { found } => Some(format!("found {found:?}, allowed JWT and JOSE")),
            Self::UnknownKey { key_id, .. } => Some(match key_id {
                Some(id) => format!("the token names {id:?}"),
                None => "the token names no key, and the trust domain has none".to_owned(),
            }),
            Self::Audience { expected, found } => Some(format!("expected {expected:?}, the token is for {found:?}")),
            Self::Expired { now, expires_at } => {
                Some(format!("now {now}, ended {expires_at}, {LEEWAY_SECONDS} s allowed"))
            }
            Self::NotYetValid { now, not_before } => {
                Some(format!("now {now}, begins {not_before}, {LEEWAY_SECONDS} s allowed"))
            }
            Self::KeyId { len } => Some(format!(
                "{len} bytes; 1 to {} printable ASCII characters are allowed",
                JwtAuthority::MAX_KEY_ID_LEN
            )),
            _ => None,
        }
    }
}
