//! Why nothing is issued.

use std::time::Duration;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::{
    SpiffeId, TrustDomain,
    jwt::{JwtAlgorithm, JwtError},
    x509::ProfileError,
};

use crate::{KeyType, MAX_AUDIENCE_LEN, MAX_AUDIENCES, MAX_CSR_LEN, SignatureAlgorithm};

/// Why a key was not accepted, a certificate not prepared or not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A certification request longer than [`MAX_CSR_LEN`].
    #[error("the certification request is too large")]
    CsrTooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not one whole PKCS#10 request.
    #[error("the certification request is not one PKCS#10 request in DER")]
    CsrMalformed,
    /// An algorithm that is not accepted, or not for this kind of key.
    #[error("the certification request is signed with an algorithm that is not accepted")]
    CsrAlgorithm {
        /// The kind of the request's key.
        key: KeyType,
    },
    /// The request is not signed by its own key.
    #[error("the certification request's signature does not verify")]
    CsrSignature,
    /// A key of a kind that is not certified, or not in its canonical form.
    #[error("keys of this kind or form are not certified")]
    KeyKind,
    /// A key that is no key: its point is not on the curve, or its modulus makes no sense.
    #[error("the public key is not valid")]
    KeyInvalid,
    /// An RSA modulus too short, too long or of odd length.
    #[error("the RSA key's size is not accepted")]
    RsaSize {
        /// Its length in bits.
        bits: usize,
    },
    /// An RSA exponent too small, too large or even.
    #[error("the RSA key's public exponent is not accepted")]
    RsaExponent,
    /// The authority's own key as a leaf's (X509-10).
    #[error("the key is the authority's own")]
    SubjectIsAuthority,
    /// The grant is for another trust domain (X509-09).
    #[error("the authority does not issue for this trust domain")]
    ForeignTrustDomain {
        /// The authority's.
        expected: TrustDomain,
        /// The granted id.
        found: SpiffeId,
    },
    /// The authority's certificate has expired.
    #[error("the authority's certificate has expired")]
    Expired {
        /// Seconds since the Unix epoch.
        now: i64,
        /// The end of its validity.
        not_after: i64,
    },
    /// The authority's certificate is not valid yet.
    #[error("the authority's certificate is not valid yet")]
    NotYetValid {
        /// Seconds since the Unix epoch.
        now: i64,
        /// The start of its validity.
        not_before: i64,
    },
    /// A lifetime of less than a second, or beyond the year 9999.
    #[error("the lifetime is out of range")]
    Lifetime {
        /// Seconds since the Unix epoch.
        now: i64,
        /// The lifetime asked for.
        lifetime: Duration,
    },
    /// The time is before 1970 or after 9999.
    #[error("the clock shows a time that no certificate can name")]
    Clock,
    /// The lint: a draft breaks the profile. A fault of ours.
    #[error("the prepared certificate breaks the X509-SVID profile")]
    Profile(#[source] ProfileError),
    /// The lint: a draft does not say what was granted. A fault of ours.
    #[error("the prepared certificate does not match what was granted: {field}")]
    Deviates {
        /// What is different.
        field: &'static str,
    },
    /// What came back from the signer is no signature of the authority's algorithm.
    #[error("the signature is not one of the authority's algorithm")]
    SignatureForm {
        /// The algorithm.
        algorithm: SignatureAlgorithm,
        /// The signature's length in bytes.
        len: usize,
    },
    /// An authority's certificate cannot be decoded.
    #[error("the authority's certificate cannot be used: {what}")]
    AuthorityMalformed {
        /// What was met.
        what: String,
    },
    /// An authority's certificate breaks the profile.
    #[error("the authority's certificate breaks the X509-SVID profile")]
    AuthorityProfile(#[source] ProfileError),
    /// A self-signed authority's signature does not verify.
    #[error("the authority's own signature does not verify")]
    AuthoritySignature,
    /// No audience, too many, or one that is empty, too long or not printable.
    #[error("a token needs an audience that can be used")]
    Audience {
        /// How many there are.
        count: usize,
    },
    /// The key that signs JWT-SVIDs has ended.
    #[error("the key that signs JWT-SVIDs has ended")]
    JwtKeyEnded {
        /// Seconds since the Unix epoch.
        now: i64,
        /// Its end.
        ended: i64,
    },
    /// What came back from the signer is no signature of the JWT key's algorithm.
    #[error("the signature is not one of the JWT key's algorithm")]
    JwtSignatureForm {
        /// The algorithm.
        algorithm: JwtAlgorithm,
        /// The signature's length in bytes.
        len: usize,
    },
    /// The token that was put together does not validate: most of all, its signature is not the key's.
    #[error("the signed token does not validate")]
    JwtNotValid(#[source] JwtError),
    /// The authority's own certificate allows no authority with this path length below it (X509-13).
    #[error("the authority may have no such authority below it")]
    PathLen {
        /// How many authorities may stand below it.
        allowed: u32,
        /// How many were to stand below the new one.
        path_len: u8,
    },
    /// A renewal that would not make the authority last longer.
    #[error("the renewed certificate would end no later than the authority's present one")]
    NotLonger {
        /// The end of the renewed one, in seconds since the Unix epoch.
        ends: i64,
        /// The end of the present one.
        not_after: i64,
    },
}

impl AuthorityError {
    /// Whether the one who asked sent what cannot be certified, rather than that something is wrong here.
    #[must_use]
    pub const fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::CsrTooLarge { .. }
                | Self::CsrMalformed
                | Self::CsrAlgorithm { .. }
                | Self::CsrSignature
                | Self::KeyKind
                | Self::KeyInvalid
                | Self::RsaSize { .. }
                | Self::RsaExponent
                | Self::SubjectIsAuthority
                | Self::Audience { .. }
        )
    }
}

impl Coded for AuthorityError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::CsrTooLarge { .. } => ReasonCode::new("HM-CA-0001"),
            Self::CsrMalformed => ReasonCode::new("HM-CA-0002"),
            Self::CsrAlgorithm { .. } => ReasonCode::new("HM-CA-0003"),
            Self::CsrSignature => ReasonCode::new("HM-CA-0004"),
            Self::KeyKind => ReasonCode::new("HM-CA-0005"),
            Self::KeyInvalid => ReasonCode::new("HM-CA-0006"),
            Self::RsaSize { .. } => ReasonCode::new("HM-CA-0007"),
            Self::RsaExponent => ReasonCode::new("HM-CA-0008"),
            Self::SubjectIsAuthority => ReasonCode::new("HM-CA-0009"),
            Self::ForeignTrustDomain { .. } => ReasonCode::new("HM-CA-0010"),
            Self::Expired { .. } => ReasonCode::new("HM-CA-0011"),
            Self::NotYetValid { .. } => ReasonCode::new("HM-CA-0012"),
            Self::Lifetime { .. } => ReasonCode::new("HM-CA-0013"),
            Self::Clock => ReasonCode::new("HM-CA-0014"),
            Self::Profile(_) => ReasonCode::new("HM-CA-0015"),
            Self::Deviates { .. } => ReasonCode::new("HM-CA-0016"),
            Self::SignatureForm { .. } => ReasonCode::new("HM-CA-0017"),
            Self::AuthorityMalformed { .. } => ReasonCode::new("HM-CA-0018"),
            Self::AuthorityProfile(_) => ReasonCode::new("HM-CA-0019"),
            Self::AuthoritySignature => ReasonCode::new("HM-CA-0020"),
            Self::NotLonger { .. } => ReasonCode::new("HM-CA-0021"),
            Self::Audience { .. } => ReasonCode::new("HM-CA-0022"),
            Self::JwtSignatureForm { .. } => ReasonCode::new("HM-CA-0023"),
            Self::JwtNotValid(_) => ReasonCode::new("HM-CA-0024"),
            Self::JwtKeyEnded { .. } => ReasonCode::new("HM-CA-0025"),
            Self::PathLen { .. } => ReasonCode::new("HM-CA-0030"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::CsrTooLarge { len } => Some(format!("{len} bytes, at most {MAX_CSR_LEN} allowed")),
            Self::CsrAlgorithm { key } => Some(format!(
                "the key is {key:?}; ECDSA with SHA-256 or SHA-384, or RSA PKCS#1 v1.5 with SHA-256, SHA-384 or SHA-512, as the key is"
            )),
            Self::KeyKind | Self::KeyInvalid => {
                Some("accepted are EC P-256, EC P-384 and RSA of 2048 to 4096 bits".into())
            }
            Self::RsaSize { bits } => Some(format!("{bits} bits, 2048 to 4096 allowed")),
            Self::ForeignTrustDomain { expected, found } => Some(format!("issues for {expected}, asked for {found}")),
            Self::Expired { now, not_after } => Some(format!("now {}, ended {}", date(*now), date(*not_after))),
            Self::JwtKeyEnded { now, ended } => Some(format!("now {}, ended {}", date(*now), date(*ended))),
            Self::NotYetValid { now, not_before } => Some(format!("now {}, begins {}", date(*now), date(*not_before))),
            Self::NotLonger { ends, not_after } => {
                Some(format!("present {}, renewed {}", date(*not_after), date(*ends)))
            }
            Self::PathLen { allowed, path_len } => Some(format!(
                "its path length is {allowed}; one with the path length {path_len} needs {} at least",
                u16::from(*path_len).saturating_add(1)
            )),
            Self::Lifetime { lifetime, .. } => Some(format!("{} s", lifetime.as_secs_f64())),
            Self::Profile(cause) | Self::AuthorityProfile(cause) => Some(match cause.compared() {
                Some(compared) => format!("{}: {cause}: {compared}", cause.code()),
                None => format!("{}: {cause}", cause.code()),
            }),
            Self::Audience { count } => Some(format!(
                "{count} audiences; 1 to {MAX_AUDIENCES} of 1 to {MAX_AUDIENCE_LEN} bytes are allowed, 4096 in all"
            )),
            Self::JwtSignatureForm { algorithm, len } => Some(format!("{algorithm}, got {len} bytes")),
            Self::JwtNotValid(cause) => Some(format!("{}: {cause}", cause.code())),
            Self::SignatureForm { algorithm, len } => Some(format!("{algorithm:?}, got {len} bytes")),
            _ => None,
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
