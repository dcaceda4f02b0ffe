//! What can be wrong with the authority at a start.

use std::path::PathBuf;

use hallmark_authority::UpstreamAnswerError;
use hallmark_hsm::{HsmError, KeyKind};
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::{jwt::JwtError, x509::ChainError};
use hallmark_state::AuthorityStepError;
use hallmark_store::StoreError;
use hallmark_upstream::{Upstream, UpstreamError};

/// Why the server has no authority to sign with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The token.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate could not be made, or does not read.
    #[error(transparent)]
    Certificate(#[from] hallmark_authority::AuthorityError),
    /// A certificate of the bundle cannot be an authority.
    #[error(transparent)]
    Bundle(#[from] ChainError),
    /// The token has no key with the recorded label.
    #[error("the token has no key {label:?}, which signs for the authority")]
    KeyMissing {
        /// The label.
        label: String,
    },
    /// The key with the recorded label is not the one that was certified.
    #[error("the key {label:?} of the token is not the one of the authority's certificate")]
    KeyMismatch {
        /// The label.
        label: String,
        /// SHA-256 of the certified key's SPKI, hex.
        certified: String,
        /// SHA-256 of the token's key's SPKI, hex.
        found: String,
    },
    /// The clock stands before the authority's certificate.
    #[error("the clock is before the authority's certificate begins")]
    ClockBehind {
        /// Unix seconds.
        now: i64,
        /// Unix seconds.
        not_before: i64,
    },
    /// The authority's certificate has expired.
    #[error("the authority's certificate has expired")]
    Expired {
        /// Unix seconds.
        now: i64,
        /// Unix seconds.
        not_after: i64,
    },
    /// A key left by a start that was cut short is of another kind than is configured now.
    #[error("the key {label:?} of the token is of another kind than configured")]
    OtherKind {
        /// The label.
        label: String,
        /// The key's kind.
        found: KeyKind,
        /// The configured kind.
        configured: KeyKind,
    },
    /// Every label that would be used has half a key.
    #[error("the token has {count} half keys of this trust domain and no whole one")]
    TooManyHalves {
        /// How many labels were tried.
        count: usize,
    },
    /// The token has a key of this trust domain, and the store is new.
    #[error("the store {} is new, and the token holds a key of this trust domain's authority", store.display())]
    OtherStore {
        /// The key's label.
        label: String,
        /// The store's file.
        store: PathBuf,
    },
    /// A new beginning makes no sense where there is an authority.
    #[error("the store {} has an authority", store.display())]
    Begun {
        /// The key's label.
        label: String,
        /// The store's file.
        store: PathBuf,
    },
    /// A step in the life of an authority is refused.
    #[error(transparent)]
    Step(#[from] AuthorityStepError),
    /// A key for JWT-SVIDs in the store does not read.
    #[error("a key for JWT-SVIDs does not read")]
    JwtKeyRow(#[source] JwtError),
    /// The server issues no JWT-SVIDs.
    #[error("this server issues no JWT-SVIDs")]
    NoJwtSvids,
    /// No authority above this server's signs its certificates.
    #[error("this server's authorities are self-signed: there is none above them")]
    NoUpstream,
    /// The authority above cannot be reached, refuses, or its answer does not read.
    #[error("the upstream {name} does not sign: {cause}")]
    Upstream {
        /// Which.
        name: String,
        /// Why.
        cause: UpstreamError,
    },
    /// The answer of the authority above is not taken.
    #[error(transparent)]
    UpstreamAnswer(UpstreamAnswerError),
    /// The authority above failed, and is asked again later.
    #[error("{text}; it is asked again later")]
    UpstreamWaits {
        /// The code of the failure.
        code: ReasonCode,
        /// The failure.
        text: String,
    },
    /// The authority that signs is self-signed and should not be, or the reverse.
    #[error("the authority that signs is {found}, and the configuration says otherwise: rotate it")]
    NotAsConfigured {
        /// What it is.
        found: &'static str,
    },
    /// The authority is signed by one above it, and this is not done to it alone.
    #[error("the authority is signed by one above it, and is not {act} by itself")]
    SignedAbove {
        /// What was asked for.
        act: &'static str,
    },
    /// There is no authority to renew.
    #[error("there is no authority yet")]
    None,
    /// No random bytes.
    #[error("no random bytes for the authority's serial number")]
    Random,
    /// The token answers, and what it returns is no signature of the authority's key.
    #[error("the token's signature does not verify with the authority's public key")]
    WrongSignature {
        /// The key's label.
        label: String,
    },
}

impl AuthorityError {
    pub(super) fn upstream(upstream: &dyn Upstream, cause: UpstreamError) -> Self {
        Self::Upstream {
            name: upstream.name(),
            cause,
        }
    }

    /// Whether the token does not have the key that is on record, or has only one half of it.
    pub(crate) const fn is_lost_key(&self) -> bool {
        matches!(
            self,
            Self::KeyMissing { .. } | Self::KeyMismatch { .. } | Self::Hsm(HsmError::KeyIncomplete { .. })
        )
    }
}

impl Coded for AuthorityError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::KeyMissing { .. } => ReasonCode::new("HM-SRV-0010"),
            Self::KeyMismatch { .. } => ReasonCode::new("HM-SRV-0011"),
            Self::ClockBehind { .. } => ReasonCode::new("HM-SRV-0012"),
            Self::Expired { .. } => ReasonCode::new("HM-SRV-0013"),
            Self::OtherKind { .. } => ReasonCode::new("HM-SRV-0014"),
            Self::Random => ReasonCode::new("HM-SRV-0015"),
            Self::TooManyHalves { .. } => ReasonCode::new("HM-SRV-0016"),
            Self::WrongSignature { .. } => ReasonCode::new("HM-SRV-0017"),
            Self::Step(error) => error.code(),
            Self::JwtKeyRow(error) => error.code(),
            Self::NoJwtSvids => ReasonCode::new("HM-SRV-0043"),
            Self::NoUpstream => ReasonCode::new("HM-SRV-0044"),
            Self::NotAsConfigured { .. } => ReasonCode::new("HM-SRV-0046"),
            Self::SignedAbove { .. } => ReasonCode::new("HM-SRV-0047"),
            Self::Upstream { cause, .. } => cause.code(),
            Self::UpstreamAnswer(error) => error.code(),
            Self::UpstreamWaits { code, .. } => *code,
            Self::None => ReasonCode::new("HM-SRV-0030"),
            Self::OtherStore { .. } => ReasonCode::new("HM-SRV-0032"),
            Self::Begun { .. } => ReasonCode::new("HM-SRV-0033"),
            Self::Hsm(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Certificate(error) => error.code(),
            Self::Bundle(error) => error.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Hsm(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Certificate(error) => Some(error),
            Self::Bundle(error) => Some(error),
            Self::Step(error) => Some(error),
            Self::JwtKeyRow(error) => Some(error),
            Self::Upstream { cause, .. } => Some(&**cause),
            Self::UpstreamAnswer(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::KeyMismatch { certified, found, .. } => Some(format!("certified {certified}, found {found}")),
            Self::ClockBehind { now, not_before } => Some(format!("now {}, begins {}", date(*now), date(*not_before))),
            Self::Expired { now, not_after } => Some(format!("now {}, ended {}", date(*now), date(*not_after))),
            Self::OtherKind { found, configured, .. } => Some(format!("configured {configured}, found {found}")),
            Self::OtherStore { label, .. } => Some(format!(
                "token: key {label:?}; store: no authority, and no record of this key"
            )),
            Self::Begun { label, .. } => Some(format!("expected no authority, found the one of key {label:?}")),
            Self::WrongSignature { label } => Some(format!("expected a signature of {label:?}, found another value")),
            _ => self.inner()?.compared(),
        }
    }
}

/// RFC 3339, or the bare seconds where there is no such date.
pub(crate) fn date(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}
