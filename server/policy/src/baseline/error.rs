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
    #[error("this is no baseline: {what}")]
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

    fn likely_cause(&self) -> Option<String> {
        let cause = match self {
            Self::NotProven => "its firmware or kernel gives no event log, or the agent may not read it",
            Self::NotQuoted { .. } => "`pcrs` in the server's configuration leaves it out",
            Self::VaryingRegister { .. } => "the register changes while the machine runs, or any program may reset it",
            Self::OtherRegisters { .. } => "they were captured with other registers",
            Self::Malformed { .. } => "another file, or one that was edited by hand",
        };
        Some(cause.into())
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::NotProven => "hallmark node explain NODE",
            Self::NotQuoted { .. } => "add it to `attestation.tpm2.pcrs`, and wait until the node attested again",
            Self::VaryingRegister { .. } => "leave it out",
            Self::OtherRegisters { .. } => "name the same registers when you capture",
            Self::Malformed { .. } => {
                "export it again: hallmark baseline export NAME -o FILE; of a CoRIM: ask its maker for digests of registers"
            }
        };
        Some(step.into())
    }
}
