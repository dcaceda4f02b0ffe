//! Why a boot log was not believed.

use hallmark_evidence::systemd::SystemdLogError;
use hallmark_evidence::tcg::TcgLogError;
use hallmark_reason::{Coded, ReasonCode};

use crate::refusal::RefusalClass;

/// A boot log that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The firmware's log cannot be read.
    #[error(transparent)]
    Tcg(#[from] TcgLogError),
    /// systemd's log cannot be read.
    #[error(transparent)]
    Systemd(#[from] SystemdLogError),
    /// systemd's log came without the firmware's, on which it builds.
    #[error("systemd's measurement log came without the firmware's")]
    SystemdAlone,
    /// The log has no digests of a quoted bank.
    #[error("the boot log has no digests of the quoted bank {bank}")]
    Bank {
        /// The quoted bank.
        bank: String,
        /// The log's banks.
        found: String,
    },
    /// A register is not what the log says.
    #[error("the boot log does not reproduce PCR {pcr} ({bank}){}", part(.parts_after, .extra))]
    Pcr {
        /// The bank.
        bank: String,
        /// The register.
        pcr: u8,
        /// The quoted value, hex.
        quoted: String,
        /// The replayed value, hex.
        replayed: String,
        /// The last event up to which the log gives the quoted value; `None` if no part of it does.
        parts_after: Option<u32>,
        /// The first event of that register that the quote does not know, with its description; or among which events it is.
        extra: Option<String>,
    },
    /// The log measures into the register that is IMA's.
    #[error("event {event} of the boot log measures into PCR 10, which is the kernel's")]
    Ima {
        /// The event.
        event: u32,
    },
}

fn part(parts_after: &Option<u32>, extra: &Option<String>) -> String {
    match (parts_after, extra) {
        (Some(after), Some(extra)) => format!("; first divergence after event {after}: {extra}"),
        (None, Some(extra)) => format!("; {extra}"),
        _ => String::new(),
    }
}

impl BootError {
    /// What the refused node itself may learn.
    #[must_use]
    pub const fn class(&self) -> RefusalClass {
        match self {
            Self::Tcg(_) | Self::Systemd(_) => RefusalClass::Malformed,
            _ => RefusalClass::UnprovenStatement,
        }
    }
}

impl Coded for BootError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Tcg(error) => error.code(),
            Self::Systemd(error) => error.code(),
            Self::SystemdAlone => ReasonCode::new("HM-VERIFY-0701"),
            Self::Bank { .. } => ReasonCode::new("HM-VERIFY-0702"),
            Self::Pcr { .. } => ReasonCode::new("HM-VERIFY-0703"),
            Self::Ima { .. } => ReasonCode::new("HM-VERIFY-0704"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Tcg(error) => Some(error),
            Self::Systemd(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Bank { bank, found } => Some(format!("quoted {bank}, the log has {found}")),
            Self::Pcr { quoted, replayed, .. } => Some(format!("quoted {quoted}, replayed {replayed}")),
            Self::Tcg(_) | Self::Systemd(_) | Self::SystemdAlone | Self::Ima { .. } => self.inner()?.compared(),
        }
    }
}
