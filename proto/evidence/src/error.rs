//! What can be wrong with evidence before anything of it is judged.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_tpm_wire::WireError;

/// Why a claim or a proof was refused while it was decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A field is longer, or has more items, than its limit.
    #[error("{field} is too large")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The largest value accepted.
        limit: usize,
        /// The value found.
        actual: usize,
    },
    /// A field that must be there is empty.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A TPM structure in the evidence was refused.
    #[error("{field} was refused: {source}")]
    Structure {
        /// Which part of the evidence it is.
        field: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// A PCR bank that is not known.
    #[error("a PCR value is of a bank that is not supported")]
    UnknownBank {
        /// The identifier found.
        value: u32,
    },
    /// A PCR number that does not exist.
    #[error("a PCR value is of a register that does not exist")]
    UnknownRegister {
        /// The number found.
        value: u32,
    },
    /// A log of a kind that is not known.
    #[error("a log is of a kind that is not supported")]
    UnknownLog {
        /// The number found.
        value: i32,
    },
    /// Two logs of the same kind.
    #[error("the {0} log is given more than once")]
    DuplicateLog(&'static str),
    /// A log's digest is no SHA-256.
    #[error("a log was announced with a value that is not a SHA-256 digest")]
    LogDigest {
        /// The length found, in bytes.
        actual: usize,
    },
    /// An evidence file is not one.
    #[error("not an evidence file")]
    File {
        /// What is wrong with it.
        detail: String,
    },
    /// The payload's version is not one that this build speaks.
    #[error("the payload has a version that is not supported")]
    Version {
        /// The version that is spoken here.
        expected: u32,
        /// The version found.
        actual: u32,
    },
}

impl EvidenceError {
    pub(crate) fn structure(field: &'static str) -> impl FnOnce(WireError) -> Self {
        move |source| Self::Structure { field, source }
    }
}

impl Coded for EvidenceError {
    /// The code; a refused TPM structure keeps the code of what is wrong with it.
    fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::new("HM-EVID-0001"),
            Self::Missing { .. } => ReasonCode::new("HM-EVID-0002"),
            Self::Structure { source, .. } => source.code(),
            Self::UnknownBank { .. } => ReasonCode::new("HM-EVID-0003"),
            Self::UnknownRegister { .. } => ReasonCode::new("HM-EVID-0004"),
            Self::UnknownLog { .. } => ReasonCode::new("HM-EVID-0005"),
            Self::DuplicateLog(_) => ReasonCode::new("HM-EVID-0006"),
            Self::Version { .. } => ReasonCode::new("HM-EVID-0007"),
            Self::File { .. } => ReasonCode::new("HM-EVID-0009"),
            Self::LogDigest { .. } => ReasonCode::new("HM-EVID-0008"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Structure { source, .. } => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { limit, actual, .. } => Some(format!("limit {limit}, found {actual}")),
            Self::UnknownBank { value } => Some(format!("found 0x{value:04x}")),
            Self::UnknownRegister { value } => Some(format!("expected 0 to 31, found {value}")),
            Self::UnknownLog { value } => Some(format!("found {value}")),
            Self::File { detail } => Some(detail.clone()),
            Self::LogDigest { actual } => Some(format!("expected 32 bytes, found {actual}")),
            Self::Version { expected, actual } => Some(format!("expected {expected}, found {actual}")),
            Self::Missing { .. } | Self::DuplicateLog(_) | Self::Structure { .. } => self.inner()?.compared(),
        }
    }
}
