//! Why an EK certificate was not believed.

use hallmark_reason::ReasonCode;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::refusal::{RefusalClass, Row, coded_by_row, expected};
use hallmark_der::DerFault;

/// Seconds since the Unix epoch as people read them.
fn moment(unix: u64) -> String {
    let time = i64::try_from(unix)
        .ok()
        .and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix.to_string())
}

/// Why an EK certificate was not believed. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EkCertificateError {
    /// More bytes than any EK certificate has.
    #[error("EK certificate is too large")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes received.
        actual: usize,
    },
    /// The TCG wrapper announces more bytes than follow.
    #[error("EK certificate's TCG wrapper is cut off")]
    WrapperCutOff,
    /// The encoding is not DER.
    #[error("EK certificate is not DER: {0}")]
    NotDer(DerFault),
    /// Something other than NV padding follows the certificate.
    #[error("bytes follow the EK certificate")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// DER, but not an X.509 certificate.
    #[error("EK certificate is not a well-formed X.509 certificate: {0}")]
    NotX509(String),
    /// Not version 3.
    #[error("EK certificate is not X.509 version 3")]
    Version {
        /// The version found, 1 for v1.
        actual: u32,
    },
    /// The certificate is a CA's.
    #[error("EK certificate is a CA certificate")]
    IsCa,
    /// There is no key usage.
    #[error("EK certificate has no key usage")]
    KeyUsageMissing,
    /// The key usage does not fit an endorsement key of this type.
    #[error("EK certificate has the wrong key usage")]
    KeyUsage {
        /// The bit that must be set.
        required: &'static str,
        /// What is set.
        actual: String,
    },
    /// There is no extended key usage.
    #[error("EK certificate has no extended key usage")]
    ExtendedKeyUsageMissing,
    /// The extended key usage is not that of an EK certificate.
    #[error("EK certificate's extended key usage is not tcg-kp-EKCertificate")]
    ExtendedKeyUsage {
        /// The OIDs found.
        actual: String,
    },
    /// A TPM attribute is missing from the subject alternative name.
    #[error("EK certificate does not name the TPM's {attribute}")]
    TpmAttributeMissing {
        /// `manufacturer`, `model` or `version`.
        attribute: &'static str,
    },
    /// A TPM attribute is there twice.
    #[error("EK certificate names the TPM's {attribute} more than once")]
    TpmAttributeTwice {
        /// `manufacturer`, `model` or `version`.
        attribute: &'static str,
    },
    /// A TPM attribute is not printable text of a sane length.
    #[error("EK certificate's TPM {attribute} is not printable text")]
    TpmAttributeText {
        /// `manufacturer`, `model` or `version`.
        attribute: &'static str,
    },
    /// One extension stands there twice.
    #[error("EK certificate has extension {oid} twice")]
    DuplicateExtension {
        /// The extension.
        oid: String,
    },
    /// A critical extension is not known here.
    #[error("EK certificate has an unknown critical extension")]
    UnknownCriticalExtension {
        /// The extension.
        oid: String,
    },
    /// Signed with an algorithm that is too weak.
    #[error("EK certificate is signed with a weak algorithm")]
    WeakSignature {
        /// The algorithm, as OID.
        algorithm: String,
    },
    /// The certified key cannot be an endorsement key that is accepted here.
    #[error("EK certificate's key is not acceptable: {0}")]
    Key(&'static str),
    /// Not valid yet.
    #[error("EK certificate or its issuer's is not valid yet")]
    NotYetValid {
        /// Start of validity.
        not_before: u64,
        /// The server's time.
        now: u64,
    },
    /// Not valid any more.
    #[error("EK certificate or its issuer's has expired")]
    Expired {
        /// End of validity.
        not_after: u64,
        /// The server's time.
        now: u64,
    },
    /// No path to a pinned root.
    #[error("EK certificate leads to no trusted root")]
    UntrustedIssuer {
        /// The issuer's name.
        issuer: String,
        /// Why sent intermediates were left out, if any were.
        left_out: String,
    },
    /// A signature on the way to the root is wrong.
    #[error("a signature in the EK certificate's chain is wrong")]
    ChainSignature,
    /// A certificate of the chain is signed with an algorithm that is not accepted.
    #[error("the EK certificate's chain uses a weak or unknown signature algorithm")]
    ChainAlgorithm,
    /// More CAs than the root or an intermediate allows.
    #[error("the EK certificate's chain is longer than one of its CAs allows")]
    PathLength,
    /// Path building was given up.
    #[error("building the EK certificate's chain takes too much work")]
    TooMuchWork,
    /// More intermediates than are looked at.
    #[error("too many intermediate certificates")]
    TooManyIntermediates {
        /// Certificates allowed.
        limit: usize,
        /// Certificates received.
        actual: usize,
    },
    /// A certificate of the chain was revoked.
    #[error("the EK certificate, or its issuer's, was revoked by its vendor")]
    Revoked,
    /// No fresh revocation list covers the chain, and one is required.
    #[error("no fresh revocation list says whether the EK certificate or its issuer's was revoked")]
    RevocationUnknown {
        /// The certificate's issuer.
        issuer: String,
    },
    /// The list of an issuer is not signed as it must be.
    #[error("a revocation list of the EK certificate's chain cannot be believed: {0}")]
    RevocationList(String),
    /// Any other rule of path validation.
    #[error("the EK certificate's chain breaks a rule of path validation: {0}")]
    Path(String),
}

impl EkCertificateError {
    pub(crate) fn row(&self) -> Row {
        let (class, (code, compared)) = match self {
            Self::TooLarge { .. }
            | Self::WrapperCutOff
            | Self::NotDer(_)
            | Self::TrailingBytes { .. }
            | Self::NotX509(_)
            | Self::Version { .. }
            | Self::TooManyIntermediates { .. } => (RefusalClass::Malformed, self.encoding()),
            Self::NotYetValid { .. }
            | Self::Expired { .. }
            | Self::UntrustedIssuer { .. }
            | Self::ChainSignature
            | Self::ChainAlgorithm
            | Self::PathLength
            | Self::TooMuchWork
            | Self::Revoked
            | Self::RevocationUnknown { .. }
            | Self::RevocationList(_)
            | Self::Path(_) => (RefusalClass::UntrustedTpm, self.path()),
            _ => (RefusalClass::UntrustedTpm, self.profile()),
        };
        Row::new(code, class, compared)
    }

    fn encoding(&self) -> Parts {
        match self {
            Self::TooLarge { limit, actual } => (
                ReasonCode::new("HM-VERIFY-0101"),
                expected(format!("at most {limit} bytes"), actual),
            ),
            Self::WrapperCutOff => (ReasonCode::new("HM-VERIFY-0102"), None),
            Self::TrailingBytes { count } => (
                ReasonCode::new("HM-VERIFY-0104"),
                expected("nothing but NV padding", format!("{count} other bytes")),
            ),
            Self::NotX509(_) => (ReasonCode::new("HM-VERIFY-0105"), None),
            Self::Version { actual } => (ReasonCode::new("HM-VERIFY-0106"), expected("v3", format!("v{actual}"))),
            Self::TooManyIntermediates { limit, actual } => (
                ReasonCode::new("HM-VERIFY-0125"),
                expected(format!("at most {limit}"), actual),
            ),
            _ => (ReasonCode::new("HM-VERIFY-0103"), None),
        }
    }

    fn profile(&self) -> Parts {
        match self {
            Self::IsCa => (ReasonCode::new("HM-VERIFY-0107"), None),
            Self::KeyUsageMissing => (ReasonCode::new("HM-VERIFY-0108"), None),
            Self::KeyUsage { required, actual } => (ReasonCode::new("HM-VERIFY-0109"), expected(required, actual)),
            Self::ExtendedKeyUsageMissing => (ReasonCode::new("HM-VERIFY-0110"), expected("2.23.133.8.1", "none")),
            Self::ExtendedKeyUsage { actual } => (ReasonCode::new("HM-VERIFY-0111"), expected("2.23.133.8.1", actual)),
            Self::TpmAttributeMissing { .. } => (ReasonCode::new("HM-VERIFY-0112"), None),
            Self::TpmAttributeTwice { .. } => (ReasonCode::new("HM-VERIFY-0113"), None),
            Self::TpmAttributeText { .. } => (ReasonCode::new("HM-VERIFY-0114"), None),
            Self::DuplicateExtension { .. } => (ReasonCode::new("HM-VERIFY-0115"), None),
            Self::UnknownCriticalExtension { oid } => {
                (ReasonCode::new("HM-VERIFY-0116"), expected("a known extension", oid))
            }
            Self::WeakSignature { algorithm } => (
                ReasonCode::new("HM-VERIFY-0117"),
                expected("SHA-256 or better with RSA or ECDSA", algorithm),
            ),
            _ => (ReasonCode::new("HM-VERIFY-0118"), None),
        }
    }

    fn path(&self) -> Parts {
        match self {
            Self::NotYetValid { not_before, now } => (
                ReasonCode::new("HM-VERIFY-0119"),
                expected(format!("a time after {}", moment(*not_before)), moment(*now)),
            ),
            Self::Expired { not_after, now } => (
                ReasonCode::new("HM-VERIFY-0120"),
                expected(format!("a time before {}", moment(*not_after)), moment(*now)),
            ),
            Self::UntrustedIssuer { issuer, left_out } => (
                ReasonCode::new("HM-VERIFY-0121"),
                expected("a pinned root", format!("issuer \"{issuer}\"{left_out}")),
            ),
            Self::ChainSignature => (ReasonCode::new("HM-VERIFY-0122"), None),
            Self::ChainAlgorithm => (ReasonCode::new("HM-VERIFY-0123"), None),
            Self::PathLength => (ReasonCode::new("HM-VERIFY-0124"), None),
            Self::TooMuchWork => (ReasonCode::new("HM-VERIFY-0126"), None),
            Self::Revoked => (ReasonCode::new("HM-VERIFY-0128"), None),
            Self::RevocationUnknown { issuer } => (
                ReasonCode::new("HM-VERIFY-0129"),
                expected(
                    "a fresh revocation list of every CA of the chain",
                    format!("issuer \"{issuer}\""),
                ),
            ),
            Self::RevocationList(_) => (ReasonCode::new("HM-VERIFY-0130"), None),
            _ => (ReasonCode::new("HM-VERIFY-0127"), None),
        }
    }
}

/// The code and both values.
type Parts = (ReasonCode, Option<String>);

coded_by_row!(EkCertificateError);
