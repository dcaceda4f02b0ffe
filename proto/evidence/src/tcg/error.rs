//! What can be wrong with a firmware log.

use hallmark_reason::{Coded, ReasonCode};

/// Why a firmware log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcgLogError {
    /// No byte at all.
    #[error("the firmware log is empty")]
    Empty,
    /// It ends within a field.
    #[error("the firmware log ends within a field ({field}, at byte {offset})")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Where it begins.
        offset: usize,
        /// The field's length in bytes.
        wanted: usize,
        /// How many bytes are left.
        left: usize,
    },
    /// More of something than any log has.
    #[error("the firmware log has too many of its {field}")]
    TooMany {
        /// What.
        field: &'static str,
        /// The most that is accepted.
        limit: usize,
        /// The number found.
        actual: usize,
    },
    /// The Spec ID event is not one of the specification.
    #[error("the firmware log's Spec ID event is wrong: {0}")]
    SpecId(&'static str),
    /// It is the log of a confidential virtual machine, whose events extend registers of the processor and not of a TPM.
    #[error("this is the event log of a confidential virtual machine (CC, such as TDX), not of a TPM")]
    Confidential {
        /// What shows it.
        found: &'static str,
    },
    /// An event measures into a register that does not exist.
    #[error("event {event} of the firmware log measures into a register that does not exist")]
    Register {
        /// The event's number.
        event: u32,
        /// The register.
        pcr: u32,
    },
    /// An event's digests are not those of the banks that the log declares.
    #[error("event {event} of the firmware log does not have exactly one digest for each bank")]
    Digests {
        /// The event's number.
        event: u32,
        /// What is wrong.
        detail: &'static str,
    },
    /// Events that only the firmware's first code may write come twice or late.
    #[error("StartupLocality event {event} of the firmware log is duplicated or too late")]
    Locality {
        /// The event's number.
        event: u32,
    },
}

impl Coded for TcgLogError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Empty => ReasonCode::new("HM-EVID-0101"),
            Self::Truncated { .. } => ReasonCode::new("HM-EVID-0102"),
            Self::TooMany { .. } => ReasonCode::new("HM-EVID-0103"),
            Self::SpecId(_) => ReasonCode::new("HM-EVID-0104"),
            Self::Register { .. } => ReasonCode::new("HM-EVID-0105"),
            Self::Digests { .. } => ReasonCode::new("HM-EVID-0106"),
            Self::Locality { .. } => ReasonCode::new("HM-EVID-0107"),
            Self::Confidential { .. } => ReasonCode::new("HM-EVID-0108"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Truncated { wanted, left, .. } => Some(format!("expected {wanted} bytes, found {left}")),
            Self::TooMany { limit, actual, .. } => Some(format!("limit {limit}, found {actual}")),
            Self::Register { pcr, .. } => Some(format!("expected 0 to 23, found {pcr}")),
            Self::Digests { detail, .. } => Some((*detail).to_owned()),
            Self::Confidential { found } => Some(format!("expected a first event in PCR 0, found {found}")),
            Self::Empty | Self::SpecId(_) | Self::Locality { .. } => None,
        }
    }
}
