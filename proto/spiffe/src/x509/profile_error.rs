//! What can be wrong with one certificate.

use hallmark_reason::{Coded, ReasonCode};

use super::MAX_CERTIFICATE_LEN;
use crate::{IdError, SpiffeId, TrustDomain};

/// Why a certificate does not match the X509-SVID profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not one whole DER certificate.
    #[error("the certificate cannot be decoded: {what}")]
    Malformed {
        /// What was met.
        what: String,
    },
    /// Longer than 64 KiB.
    #[error("the certificate is too large")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not X.509 version 3.
    #[error("the certificate is not X.509 version 3")]
    Version,
    /// One extension twice.
    #[error("the certificate has the extension {oid} twice")]
    DuplicateExtension {
        /// Its object identifier.
        oid: String,
    },
    /// No URI among the subject alternative names (X509-01).
    #[error("the certificate has no SPIFFE ID")]
    NoUri,
    /// More than one URI among the subject alternative names (X509-02).
    #[error("the certificate has more than one URI")]
    ManyUris {
        /// How many.
        count: usize,
    },
    /// The URI is no SPIFFE ID (X509-23).
    #[error("the certificate's URI is not a SPIFFE ID: {0}")]
    Id(#[source] IdError),
    /// A leaf whose id has no path (X509-05, X509-24).
    #[error("the leaf's SPIFFE ID {id} has no path")]
    LeafWithoutPath {
        /// The id.
        id: SpiffeId,
    },
    /// A CA certificate where a leaf belongs (X509-04, X509-12, X509-22).
    #[error("a CA certificate is presented as a leaf")]
    LeafIsCa,
    /// No Key Usage (X509-15).
    #[error("the certificate has no Key Usage")]
    KeyUsageMissing,
    /// Key Usage not critical (X509-15).
    #[error("the certificate's Key Usage is not critical")]
    KeyUsageNotCritical,
    /// A leaf without digitalSignature (X509-17).
    #[error("the leaf's Key Usage lacks digitalSignature")]
    LeafWithoutDigitalSignature,
    /// A leaf with keyCertSign or cRLSign (X509-18, X509-22).
    #[error("the leaf's Key Usage allows signing certificates or revocation lists")]
    LeafSigns,
    /// Extended Key Usage present without both serverAuth and clientAuth (X509-20).
    #[error("the leaf's Extended Key Usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage {
        /// serverAuth is there.
        server: bool,
        /// clientAuth is there.
        client: bool,
    },
    /// Empty subject, and the alternative names are not critical (X509-06).
    #[error("the subject is empty and the subject alternative names are not critical")]
    AltNamesNotCritical,
    /// A signing certificate whose cA is not true (X509-11).
    #[error("the signing certificate is not a CA")]
    SigningNotCa,
    /// A signing certificate without keyCertSign (X509-16).
    #[error("the signing certificate's Key Usage lacks keyCertSign")]
    SigningWithoutCertSign,
    /// A signing certificate whose id has a path (X509-08).
    #[error("the signing certificate's SPIFFE ID {id} has a path")]
    SigningWithPath {
        /// The id.
        id: SpiffeId,
    },
    /// A signing certificate that is also meant for use by leaves (X509-10).
    #[error("the signing certificate's Key Usage allows what belongs to leaves")]
    SigningForLeafUse,
    /// A certificate of another trust domain (X509-09, ID-23).
    #[error("the certificate belongs to another trust domain")]
    ForeignTrustDomain {
        /// The trust domain asked for.
        expected: TrustDomain,
        /// The id found.
        found: SpiffeId,
    },
    /// An extension that issued certificates always carry is absent.
    #[error("the certificate lacks the extension {extension}")]
    Omitted {
        /// Its name.
        extension: &'static str,
    },
    /// The serial number is zero, negative or longer than 20 octets (RFC 5280, section 4.1.2.2).
    #[error("the serial number is not a positive number of at most 20 octets")]
    Serial,
}

impl Coded for ProfileError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Malformed { .. } => ReasonCode::new("HM-ID-0030"),
            Self::TooLarge { .. } => ReasonCode::new("HM-ID-0031"),
            Self::Version => ReasonCode::new("HM-ID-0032"),
            Self::DuplicateExtension { .. } => ReasonCode::new("HM-ID-0033"),
            Self::NoUri => ReasonCode::new("HM-ID-0034"),
            Self::ManyUris { .. } => ReasonCode::new("HM-ID-0035"),
            Self::Id(_) => ReasonCode::new("HM-ID-0036"),
            Self::LeafWithoutPath { .. } => ReasonCode::new("HM-ID-0037"),
            Self::LeafIsCa => ReasonCode::new("HM-ID-0038"),
            Self::KeyUsageMissing => ReasonCode::new("HM-ID-0039"),
            Self::KeyUsageNotCritical => ReasonCode::new("HM-ID-0040"),
            Self::LeafWithoutDigitalSignature => ReasonCode::new("HM-ID-0041"),
            Self::LeafSigns => ReasonCode::new("HM-ID-0042"),
            Self::ExtendedKeyUsage { .. } => ReasonCode::new("HM-ID-0043"),
            Self::AltNamesNotCritical => ReasonCode::new("HM-ID-0044"),
            Self::SigningNotCa => ReasonCode::new("HM-ID-0045"),
            Self::SigningWithoutCertSign => ReasonCode::new("HM-ID-0046"),
            Self::SigningWithPath { .. } => ReasonCode::new("HM-ID-0047"),
            Self::SigningForLeafUse => ReasonCode::new("HM-ID-0048"),
            Self::ForeignTrustDomain { .. } => ReasonCode::new("HM-ID-0049"),
            Self::Omitted { .. } => ReasonCode::new("HM-ID-0050"),
            Self::Serial => ReasonCode::new("HM-ID-0051"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { len } => Some(format!("{len} bytes, at most {MAX_CERTIFICATE_LEN} allowed")),
            Self::ManyUris { count } => Some(format!("{count} URIs, exactly 1 allowed")),
            Self::Id(cause) => cause.compared(),
            Self::ExtendedKeyUsage { server, client } => {
                Some(format!("serverAuth {server}, clientAuth {client}; both are needed"))
            }
            Self::ForeignTrustDomain { expected, found } => {
                Some(format!("expected trust domain {expected}, found {found}"))
            }
            _ => None,
        }
    }
}
