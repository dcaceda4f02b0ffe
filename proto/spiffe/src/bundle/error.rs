//! What can be wrong with a bundle.

use hallmark_reason::{Coded, ReasonCode};

use super::Bundle;
use crate::{jwt::JwtError, x509::ProfileError};

/// Why a bundle cannot be read or published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The document is longer than 4 MiB.
    #[error("the bundle document is too large")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// More than 1024 keys.
    #[error("the bundle has too many keys")]
    TooManyKeys {
        /// How many.
        count: usize,
    },
    /// Not a JWK Set.
    #[error("the bundle is not a JWK Set: {what}")]
    NotJwks {
        /// What the decoder met.
        what: String,
    },
    /// Neither PEM nor DER, or no certificate in it.
    #[error("the bundle is not a file of certificates: {what}")]
    NotPem {
        /// What was met.
        what: String,
    },
    /// The `x5c` member is not standard padded base64.
    #[error("x5c of key {index} is not base64")]
    Base64 {
        /// The key's place in the document.
        index: usize,
    },
    /// A certificate that cannot be an authority of the trust domain.
    #[error("certificate {index} of the bundle: {source}")]
    Authority {
        /// Its place.
        index: usize,
        /// The rule broken.
        source: ProfileError,
    },
    /// A JWT key whose members are missing or malformed.
    #[error("the members of JWT key {index} are missing or malformed")]
    Members {
        /// Its place.
        index: usize,
    },
    /// A JWT key that cannot be used.
    #[error("JWT key {index} of the bundle: {source}")]
    Jwt {
        /// Its place.
        index: usize,
        /// What is wrong with it.
        source: JwtError,
    },
    /// Two JWT keys with one id.
    #[error("two JWT keys have the id {key_id:?}")]
    KeyIdTwice {
        /// The id.
        key_id: String,
    },
    /// A JWT key that has no JWK form.
    #[error("the JWT key {key_id:?} is neither EC (P-256, P-384, P-521) nor RSA")]
    JwtKey {
        /// Its id.
        key_id: String,
    },
    /// A key that has no JWK form among those of the standard.
    #[error("the key of certificate {index} is neither EC (P-256, P-384, P-521) nor RSA")]
    Key {
        /// Its place.
        index: usize,
    },
}

impl Coded for BundleError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::new("HM-ID-0080"),
            Self::TooManyKeys { .. } => ReasonCode::new("HM-ID-0081"),
            Self::NotJwks { .. } => ReasonCode::new("HM-ID-0082"),
            Self::NotPem { .. } => ReasonCode::new("HM-ID-0083"),
            Self::Base64 { .. } => ReasonCode::new("HM-ID-0084"),
            Self::Authority { source, .. } => source.code(),
            Self::Key { .. } | Self::JwtKey { .. } => ReasonCode::new("HM-ID-0085"),
            Self::Members { .. } => ReasonCode::new("HM-ID-0086"),
            Self::KeyIdTwice { .. } => ReasonCode::new("HM-ID-0087"),
            Self::Jwt { source, .. } => source.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Authority { source, .. } => Some(source),
            Self::Jwt { source, .. } => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { len } => Some(format!("{len} bytes, at most {} allowed", Bundle::MAX_DOCUMENT_LEN)),
            Self::TooManyKeys { count } => Some(format!("{count} keys, at most {} allowed", Bundle::MAX_KEYS)),
            _ => self.inner()?.compared(),
        }
    }
}
