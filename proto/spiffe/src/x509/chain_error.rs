//! What can be wrong with a chain.

use hallmark_reason::{Coded, ReasonCode};

use super::{MAX_CHAIN, ProfileError};
use crate::TrustDomain;

/// Why a chain of certificates is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No certificate at all.
    #[error("the chain is empty")]
    Empty,
    /// More than eight certificates.
    #[error("the chain is too long")]
    TooLong {
        /// How many certificates it has.
        len: usize,
    },
    /// The clock stands before 1970.
    #[error("the clock is before 1970")]
    Clock,
    /// The leaf does not match the profile or is of another trust domain.
    #[error("{0}")]
    Leaf(#[source] ProfileError),
    /// An intermediate certificate does not match the profile or is of another trust domain.
    #[error("certificate {index} of the chain: {source}")]
    Intermediate {
        /// Its place in the chain; the leaf is 0.
        index: usize,
        /// The rule broken.
        source: ProfileError,
    },
    /// A certificate of the bundle cannot be an authority.
    #[error("certificate {index} of the bundle: {source}")]
    Authority {
        /// Its place in the bundle.
        index: usize,
        /// The rule broken.
        source: ProfileError,
    },
    /// The trust domain has no authorities, so nothing of it is believed (TDB-10).
    #[error("there are no authorities of the trust domain {trust_domain}")]
    NoAuthorities {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// No authority of the bundle signed the chain (X509-21).
    #[error("the chain leads to no authority of the trust domain")]
    UnknownIssuer,
    /// A signature of the chain is wrong (X509-21).
    #[error("a signature of the chain is wrong")]
    Signature,
    /// A certificate of the chain, or its root, is no longer valid (X509-21).
    #[error("a certificate of the chain has expired")]
    Expired {
        /// Verified at, seconds since the Unix epoch.
        now: u64,
        /// End of validity, seconds since the Unix epoch.
        not_after: u64,
    },
    /// A certificate of the chain, or its root, is not valid yet (X509-21).
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid {
        /// Verified at, seconds since the Unix epoch.
        now: u64,
        /// Begin of validity, seconds since the Unix epoch.
        not_before: u64,
    },
    /// More intermediates than a pathLen allows (X509-13).
    #[error("the chain has more intermediates than its authority allows")]
    PathLen,
    /// Another rule of RFC 5280: an unknown critical extension, a name constraint, a purpose.
    #[error("path validation failed: {what}")]
    Path {
        /// What was met.
        what: String,
    },
}

impl ChainError {
    pub(super) fn from_path(cause: webpki::Error) -> Self {
        use webpki::Error;
        match cause {
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::InvalidSignatureForPublicKey => Self::Signature,
            Error::CertExpired { time, not_after } => Self::Expired {
                now: time.as_secs(),
                not_after: not_after.as_secs(),
            },
            Error::CertNotValidYet { time, not_before } => Self::NotYetValid {
                now: time.as_secs(),
                not_before: not_before.as_secs(),
            },
            Error::PathLenConstraintViolated => Self::PathLen,
            other => Self::Path {
                what: other.to_string(),
            },
        }
    }
}

impl Coded for ChainError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Empty => ReasonCode::new("HM-ID-0060"),
            Self::TooLong { .. } => ReasonCode::new("HM-ID-0061"),
            Self::Clock => ReasonCode::new("HM-ID-0062"),
            Self::Leaf(source) | Self::Intermediate { source, .. } | Self::Authority { source, .. } => source.code(),
            Self::NoAuthorities { .. } => ReasonCode::new("HM-ID-0063"),
            Self::UnknownIssuer => ReasonCode::new("HM-ID-0064"),
            Self::Signature => ReasonCode::new("HM-ID-0065"),
            Self::Expired { .. } => ReasonCode::new("HM-ID-0066"),
            Self::NotYetValid { .. } => ReasonCode::new("HM-ID-0067"),
            Self::PathLen => ReasonCode::new("HM-ID-0068"),
            Self::Path { .. } => ReasonCode::new("HM-ID-0069"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Leaf(source) | Self::Intermediate { source, .. } | Self::Authority { source, .. } => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLong { len } => Some(format!("{len} certificates, at most {MAX_CHAIN} allowed")),
            Self::Expired { now, not_after } => {
                Some(format!("now {now}, valid until {not_after} (seconds since 1970)"))
            }
            Self::NotYetValid { now, not_before } => {
                Some(format!("now {now}, valid from {not_before} (seconds since 1970)"))
            }
            _ => self.inner()?.compared(),
        }
    }
}
