//! What can be wrong with a TPM structure.

use hallmark_reason::{Coded, ReasonCode};

/// Why a TPM structure, a signature over one, or a credential was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{structure} ends too early")]
    Truncated {
        /// The structure or field that was being read.
        structure: &'static str,
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that were left.
        available: usize,
    },
    /// Bytes follow the end of the structure.
    #[error("{structure} is followed by {extra} bytes that do not belong to it")]
    TrailingBytes {
        /// The structure that was read.
        structure: &'static str,
        /// How many bytes follow.
        extra: usize,
    },
    /// A size or a count is over its limit.
    #[error("{field} is too large")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The largest value accepted.
        limit: usize,
        /// The value found.
        actual: usize,
    },
    /// An algorithm or curve identifier that is not known here.
    #[error("{field} is an algorithm that is not supported")]
    UnknownAlgorithm {
        /// The field.
        field: &'static str,
        /// The identifier found (`TPM_ALG_ID` or `TPM_ECC_CURVE`).
        value: u16,
    },
    /// An algorithm, curve or key size that is known and too weak.
    #[error("{field} is too weak: {found}")]
    Weak {
        /// The field.
        field: &'static str,
        /// What was found, for example `RSA-1024`.
        found: &'static str,
    },
    /// An RSA key that a faulty library made (CVE-2017-15361): its private part can be computed.
    #[error("the RSA key has the mark of Infineon's faulty library (ROCA, CVE-2017-15361)")]
    Roca,
    /// A field's value breaks a rule of its structure.
    #[error("{structure} is malformed: {rule}")]
    Malformed {
        /// The structure.
        structure: &'static str,
        /// The rule that was broken.
        rule: &'static str,
    },
    /// The public area is of an object that has no public key.
    #[error("the public area belongs to a {0} object, which has no public key")]
    NotAKeyPair(&'static str),
    /// An attestation structure does not begin with `TPM_GENERATED_VALUE`.
    #[error("the attestation structure was not generated inside a TPM")]
    WrongMagic(u32),
    /// A PCR selection names a bank more than once.
    #[error("the PCR selection names the {0} bank more than once")]
    DuplicateBank(&'static str),
    /// A PCR value has another length than its bank's digest.
    #[error("the value of PCR {pcr} has a wrong length for the {bank} bank")]
    PcrValueLength {
        /// The bank's name.
        bank: &'static str,
        /// The register.
        pcr: u8,
        /// Bytes of the bank's digest.
        expected: usize,
        /// Bytes found.
        actual: usize,
    },
    /// The same PCR was given more than once.
    #[error("PCR {pcr} of the {bank} bank is given more than once")]
    DuplicatePcr {
        /// The bank's name.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// A selected PCR has no value.
    #[error("PCR {pcr} of the {bank} bank is selected and has no value")]
    MissingPcr {
        /// The bank's name.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// A value was given for a PCR that is not selected, so that no signature covers it.
    #[error("a value is given for PCR {pcr} of the {bank} bank, which is not selected")]
    UnselectedPcr {
        /// The bank's name.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// The signature's scheme or hash is not the one that the key is bound to.
    #[error("the signature is not of the scheme that the key is bound to")]
    SchemeMismatch {
        /// The key's scheme.
        key: String,
        /// The signature's scheme.
        signature: String,
    },
    /// A signature's numbers are outside their range or not of their fixed width.
    #[error("the signature's value is not acceptable: {0}")]
    SignatureValue(&'static str),
    /// The signature does not verify.
    #[error("the signature does not verify under the key")]
    SignatureInvalid,
    /// The public key is not a valid key of its kind.
    #[error("the public key is not a valid {0} key")]
    InvalidKey(&'static str),
    /// No credential can be made for this key.
    #[error("no credential can be made for this key: {0}")]
    NotAnEndorsementKey(&'static str),
    /// The secret of a credential has a wrong length.
    #[error("the secret of the credential has a wrong length")]
    SecretLength {
        /// The longest secret that the key can take.
        limit: usize,
        /// The secret's length.
        actual: usize,
    },
    /// The cryptographic library failed at an operation that cannot fail on good input.
    #[error("the cryptographic library failed at {0}")]
    Crypto(&'static str),
}

impl WireError {
    pub(crate) fn malformed(structure: &'static str, rule: &'static str) -> Self {
        Self::Malformed { structure, rule }
    }
}

impl Coded for WireError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Truncated { .. } => ReasonCode::new("HM-TPMW-0001"),
            Self::TrailingBytes { .. } => ReasonCode::new("HM-TPMW-0002"),
            Self::TooLarge { .. } => ReasonCode::new("HM-TPMW-0003"),
            Self::UnknownAlgorithm { .. } => ReasonCode::new("HM-TPMW-0004"),
            Self::Weak { .. } => ReasonCode::new("HM-TPMW-0005"),
            Self::Malformed { .. } => ReasonCode::new("HM-TPMW-0006"),
            Self::NotAKeyPair(_) => ReasonCode::new("HM-TPMW-0007"),
            Self::WrongMagic(_) => ReasonCode::new("HM-TPMW-0008"),
            Self::DuplicateBank(_) => ReasonCode::new("HM-TPMW-0009"),
            Self::PcrValueLength { .. } => ReasonCode::new("HM-TPMW-0010"),
            Self::DuplicatePcr { .. } => ReasonCode::new("HM-TPMW-0011"),
            Self::MissingPcr { .. } => ReasonCode::new("HM-TPMW-0012"),
            Self::UnselectedPcr { .. } => ReasonCode::new("HM-TPMW-0013"),
            Self::SchemeMismatch { .. } => ReasonCode::new("HM-TPMW-0014"),
            Self::SignatureValue(_) => ReasonCode::new("HM-TPMW-0015"),
            Self::SignatureInvalid => ReasonCode::new("HM-TPMW-0016"),
            Self::InvalidKey(_) => ReasonCode::new("HM-TPMW-0017"),
            Self::NotAnEndorsementKey(_) => ReasonCode::new("HM-TPMW-0018"),
            Self::SecretLength { .. } => ReasonCode::new("HM-TPMW-0019"),
            Self::Crypto(_) => ReasonCode::new("HM-TPMW-0020"),
            Self::Roca => ReasonCode::new("HM-TPMW-0021"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Truncated { needed, available, .. } => Some(format!("needed {needed} bytes, found {available}")),
            Self::TooLarge { limit, actual, .. } => Some(format!("limit {limit}, found {actual}")),
            Self::UnknownAlgorithm { value, .. } => Some(format!("found 0x{value:04x}")),
            Self::WrongMagic(found) => Some(format!("expected 0xff544347, found 0x{found:08x}")),
            Self::PcrValueLength { expected, actual, .. } => Some(format!("expected {expected} bytes, found {actual}")),
            Self::SchemeMismatch { key, signature } => Some(format!("key {key}, signature {signature}")),
            Self::SecretLength { limit, actual } => Some(format!("at most {limit} bytes, found {actual}")),
            _ => None,
        }
    }
}
