//! Why a signed file is not believed.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::TrustDomain;

use super::{FileKind, KeyId, SignedFile, Signer};

/// What is wrong with a signed file or the keys for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedFileError {
    /// The file is larger than any may be.
    #[error("the signed file is too large")]
    TooLarge {
        /// Its size, in bytes.
        actual: usize,
    },
    /// It is not a signed file.
    #[error("not a signed file: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// It is of another version.
    #[error("the signed file is of another version")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It was signed before files named the trust domain that they are for.
    #[error("the signed {kind} names no trust domain")]
    NoTrustDomain {
        /// What it holds.
        kind: FileKind,
    },
    /// It was signed for another trust domain.
    #[error("the file was signed for another trust domain")]
    OtherTrustDomain {
        /// The one that was asked for.
        expected: TrustDomain,
        /// The one that it names.
        actual: TrustDomain,
    },
    /// It holds something else.
    #[error("the signed file holds a {actual}, not a {expected}")]
    Kind {
        /// What was asked for.
        expected: FileKind,
        /// What it holds.
        actual: FileKind,
    },
    /// It names a key that may not sign here.
    #[error("the signed file's key is not one that may sign here")]
    UnknownKey {
        /// The key that it names.
        key: KeyId,
        /// The configured keys.
        known: Vec<String>,
    },
    /// The signature is not the key's over these bytes.
    #[error("the signed file's signature is wrong")]
    Signature {
        /// The key that it names.
        key: KeyId,
    },
    /// The file's serial number is not above the one in force.
    #[error("the {kind} {name} is not newer than the one in force")]
    RolledBack {
        /// What it holds.
        kind: FileKind,
        /// Its name.
        name: String,
        /// The serial number in force.
        applied: u64,
        /// The file's.
        offered: u64,
    },
    /// The baseline of that name is another signer's.
    #[error("the baseline {name} is another signer's")]
    OtherSigner {
        /// Its name.
        name: String,
        /// Whose baseline has the name.
        applied: Signer,
        /// Whose this one is.
        offered: Signer,
    },
    /// The text is no private key for signing.
    #[error("not a P-256 private key in PKCS #8, PEM")]
    SigningKey,
    /// The text is no public key for verifying.
    #[error("not a P-256 public key in PEM")]
    PublicKey,
    /// The file is not the one certificate of a signer of images.
    #[error("not the certificate of a signer of images: {what}")]
    SignerCertificate {
        /// What is wrong.
        what: String,
    },
    /// The certificate of a signer of images is not valid now.
    #[error("the certificate of the signer of images is not valid now")]
    SignerNotValid {
        /// When its validity begins.
        not_before: String,
        /// When it ends.
        not_after: String,
    },
    /// The cryptographic library cannot sign.
    #[error("the file cannot be signed")]
    CannotSign,
}

impl Coded for SignedFileError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::new("HM-POLICY-0421"),
            Self::Malformed { .. } => ReasonCode::new("HM-POLICY-0422"),
            Self::Version { .. } => ReasonCode::new("HM-POLICY-0423"),
            Self::Kind { .. } => ReasonCode::new("HM-POLICY-0424"),
            Self::UnknownKey { .. } => ReasonCode::new("HM-POLICY-0425"),
            Self::Signature { .. } => ReasonCode::new("HM-POLICY-0426"),
            Self::RolledBack { .. } => ReasonCode::new("HM-POLICY-0427"),
            Self::SigningKey => ReasonCode::new("HM-POLICY-0428"),
            Self::PublicKey => ReasonCode::new("HM-POLICY-0429"),
            Self::CannotSign => ReasonCode::new("HM-POLICY-0430"),
            Self::NoTrustDomain { .. } => ReasonCode::new("HM-POLICY-0431"),
            Self::OtherTrustDomain { .. } => ReasonCode::new("HM-POLICY-0432"),
            Self::SignerCertificate { .. } => ReasonCode::new("HM-POLICY-0433"),
            Self::SignerNotValid { .. } => ReasonCode::new("HM-POLICY-0434"),
            Self::OtherSigner { .. } => ReasonCode::new("HM-POLICY-0436"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { actual } => Some(format!("at most {} bytes, it has {actual}", SignedFile::MAX_BYTES)),
            Self::Version { found } => Some(format!("version {found}, this program reads 2")),
            Self::NoTrustDomain { .. } => Some("version 1 of signed files, 2 names a trust domain".to_owned()),
            Self::OtherTrustDomain { expected, actual } => Some(format!("signed for {actual}, this is {expected}")),
            Self::UnknownKey { key, known } if known.is_empty() => Some(format!("key {key}, none may sign")),
            Self::UnknownKey { key, known } => Some(format!("key {key}, these may sign: {}", known.join(", "))),
            Self::SignerNotValid { not_before, not_after } => Some(format!("valid from {not_before} to {not_after}")),
            Self::RolledBack { applied, offered, .. } => {
                Some(format!("in force is serial {applied}, this one is {offered}"))
            }
            Self::OtherSigner { applied, offered, .. } => Some(format!(
                "the name is that of {applied}, this one was signed by {offered}"
            )),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::OtherTrustDomain { expected, .. } => format!(
                "if it is meant for {expected} too: hallmark policy sign FILE --key KEY --trust-domain {expected} -o OUT"
            ),
            Self::RolledBack { applied, .. } => {
                format!(
                    "set `serial = {}` or higher; sign the file again if it is a signed one",
                    applied.saturating_add(1)
                )
            }
            _ => return None,
        })
    }
}
