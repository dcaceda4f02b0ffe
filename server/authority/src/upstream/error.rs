//! Why the answer of an authority above is not taken.

use std::fmt;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::x509::ProfileError;

use crate::{AuthorityError, error::date};

/// Which certificate of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one at this place of the chain, from 0: this server's own.
    Chain(usize),
    /// The one at this place of the roots, from 0.
    Root(usize),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(0) => f.write_str("this server's certificate"),
            Self::Chain(index) => write!(f, "certificate {index} above this server's"),
            Self::Root(index) => write!(f, "root {}", index.saturating_add(1)),
        }
    }
}

/// Why the answer of an authority above is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamAnswerError {
    /// None, too many, or too long.
    #[error("the upstream's answer has {found} {what}")]
    Bounds {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A certificate does not decode, is no CA, belongs to another trust domain, or breaks the profile in another way.
    #[error("the upstream's answer: {which} breaks the X509-SVID profile")]
    Profile {
        /// Which.
        which: Which,
        /// How.
        source: ProfileError,
    },
    /// The first certificate is not for the key that was asked for.
    #[error("the upstream certified another key than the one that was asked for")]
    OtherKey,
    /// A certificate is not signed by the one above it.
    #[error("the upstream's answer: {which} is not signed by what should stand above it")]
    NotSigned {
        /// Which.
        which: Which,
    },
    /// A certificate has not begun, or has ended.
    #[error("the upstream's answer: {which} is not valid now")]
    NotValid {
        /// Which.
        which: Which,
        /// Unix seconds.
        now: i64,
        /// Unix seconds.
        not_before: i64,
        /// Unix seconds.
        not_after: i64,
    },
    /// This server's certificate would be good for longer than what stands above it.
    #[error("the upstream's answer: this server's certificate ends after {above}")]
    Outlives {
        /// What stands above it.
        above: Which,
        /// Unix seconds.
        ends: i64,
        /// Unix seconds.
        above_ends: i64,
    },
    /// A key that is too weak, or of another kind.
    #[error("the upstream's answer: the key of {which} is not accepted")]
    Key {
        /// Which.
        which: Which,
        /// Why.
        source: AuthorityError,
    },
    /// A signature algorithm that is too weak, or not one of the issuer's key.
    #[error("the upstream's answer: {which} is signed with an algorithm that is not accepted")]
    Algorithm {
        /// Which.
        which: Which,
        /// The algorithm's object identifier.
        oid: String,
    },
    /// A root that somebody else signed, or nobody.
    #[error("the upstream's answer: {which} is not self-signed")]
    NotSelfSigned {
        /// Which.
        which: Which,
    },
    /// An extension that is critical and unknown, constrains names, or keeps the certificate for another use.
    #[error("the upstream's answer: {which} has an extension under which SVIDs may not verify")]
    Extension {
        /// Which.
        which: Which,
        /// The extension's object identifier.
        oid: String,
    },
    /// The path length is too small.
    #[error("the upstream's answer: {which} does not allow so many authorities below it")]
    PathLength {
        /// Which.
        which: Which,
        /// How many it allows.
        most: u32,
        /// How many stand there.
        below: usize,
    },
    /// This server's certificate cannot be used, or the clock cannot.
    #[error(transparent)]
    Certificate(AuthorityError),
}

impl Coded for UpstreamAnswerError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Bounds { .. } => ReasonCode::new("HM-CA-0026"),
            Self::Profile { .. } => ReasonCode::new("HM-CA-0027"),
            Self::OtherKey => ReasonCode::new("HM-CA-0028"),
            Self::NotSigned { .. } => ReasonCode::new("HM-CA-0029"),
            Self::NotValid { .. } => ReasonCode::new("HM-CA-0031"),
            Self::Outlives { .. } => ReasonCode::new("HM-CA-0032"),
            Self::Key { .. } | Self::Algorithm { .. } => ReasonCode::new("HM-CA-0033"),
            Self::NotSelfSigned { .. } => ReasonCode::new("HM-CA-0034"),
            Self::Extension { .. } | Self::PathLength { .. } => ReasonCode::new("HM-CA-0035"),
            Self::Certificate(error) => error.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Certificate(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Bounds { found, most, .. } => Some(format!("expected 1 to {most}, found {found}")),
            Self::Profile { source, .. } => Some(match source.compared() {
                Some(compared) => format!("{}: {source}: {compared}", source.code()),
                None => format!("{}: {source}", source.code()),
            }),
            Self::NotValid {
                now,
                not_before,
                not_after,
                ..
            } => Some(format!(
                "now {}, begins {}, ends {}",
                date(*now),
                date(*not_before),
                date(*not_after)
            )),
            Self::Outlives { ends, above_ends, .. } => Some(format!(
                "it ends {}, what stands above it {}",
                date(*ends),
                date(*above_ends)
            )),
            Self::Key { source, .. } => Some(format!("{}: {source}", source.code())),
            Self::Algorithm { oid, .. } => Some(format!(
                "expected ECDSA with SHA-256 or SHA-384, or RSA PKCS#1 v1.5 with SHA-256, SHA-384 or SHA-512, as the key is, found {oid}"
            )),
            Self::Extension { oid, .. } => Some(format!("found {oid}")),
            Self::PathLength { most, below, .. } => Some(format!("it allows {most}, found {below}")),
            Self::Certificate(error) => error.compared(),
            Self::OtherKey | Self::NotSigned { .. } | Self::NotSelfSigned { .. } => None,
        }
    }
}
