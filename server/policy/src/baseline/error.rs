//! Why there is no baseline.

use hallmark_reason::{Coded, ReasonCode};

/// Why a baseline is not made or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// The machine's boot log is not proven.
    #[error("the machine has not proven what it booted")]
    NotProven,
    /// A register was not quoted.
    #[error("PCR {pcr} was not quoted")]
    NotQuoted {
        /// The register.
        pcr: u8,
    },
    /// A register whose value says nothing about the next boot.
    #[error("a baseline cannot hold PCR {pcr}")]
    VaryingRegister {
        /// The register.
        pcr: u8,
    },
    /// Two baselines are about different registers.
    #[error("the baselines are about different registers")]
    OtherRegisters {
        /// This one's.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// A text is no baseline.
    #[error("not a baseline: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
}

impl Coded for BaselineError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotProven => ReasonCode::new("HM-POLICY-0301"),
            Self::NotQuoted { .. } => ReasonCode::new("HM-POLICY-0302"),
            Self::VaryingRegister { .. } => ReasonCode::new("HM-POLICY-0303"),
            Self::OtherRegisters { .. } => ReasonCode::new("HM-POLICY-0304"),
            Self::Malformed { .. } => ReasonCode::new("HM-POLICY-0305"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::OtherRegisters { ours, theirs } => Some(format!("{ours}, and {theirs}")),
            _ => None,
        }
    }
}
