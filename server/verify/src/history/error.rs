//! What the last quote rules out.

use hallmark_reason::ReasonCode;

use super::AgentRunId;
use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

/// Why a quote cannot come from the same TPM at a later time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// `resetCount` is smaller than before.
    #[error("the TPM's reset count went back")]
    ResetCountWentBack {
        /// In the last quote.
        last: u32,
        /// In this one.
        now: u32,
    },
    /// `restartCount` is smaller than before, within one `resetCount`.
    #[error("the TPM's restart count went back within one boot")]
    RestartCountWentBack {
        /// In the last quote.
        last: u32,
        /// In this one.
        now: u32,
    },
    /// The clock is earlier than before, and the TPM does not say why it may be.
    #[error("the TPM's clock went back")]
    ClockWentBack {
        /// In the last quote, in milliseconds.
        last: u64,
        /// In this one, in milliseconds.
        now: u64,
        /// Whether the machine was booted between the two.
        rebooted: bool,
        /// Whether the TPM calls the clock safe.
        safe: bool,
    },
    /// The clock ran faster than time.
    #[error("the TPM's clock ran faster than time")]
    ClockJumped {
        /// What passed on the server, in milliseconds.
        passed: u64,
        /// What passed in the TPM, in milliseconds.
        ran: u64,
        /// What was allowed, in milliseconds.
        most: u64,
    },
    /// `safe` turned to NO, which only a start of the TPM can do.
    #[error("the TPM's clock became unsafe within one boot")]
    BecameUnsafe {
        /// The boot.
        reset_count: u32,
    },
    /// The firmware version is another, within one `resetCount`.
    #[error("the TPM's firmware version changed within one boot")]
    FirmwareChanged {
        /// In the last quote.
        last: u64,
        /// In this one.
        now: u64,
    },
    /// Two runs of an agent with one TPM's state live at once.
    #[error("two machines prove the same TPM at once")]
    TwoAgentRuns {
        /// The run that had been ended by a newer one, and spoke again.
        ended: AgentRunId,
        /// The newer one.
        current: AgentRunId,
    },
}

impl HistoryError {
    fn row(&self) -> Row {
        Row::new(self.code_of(), RefusalClass::UntrustedTpm, self.values())
    }

    const fn code_of(&self) -> ReasonCode {
        match self {
            Self::ResetCountWentBack { .. } => ReasonCode::new("HM-VERIFY-0801"),
            Self::RestartCountWentBack { .. } => ReasonCode::new("HM-VERIFY-0802"),
            Self::ClockWentBack { .. } => ReasonCode::new("HM-VERIFY-0803"),
            Self::ClockJumped { .. } => ReasonCode::new("HM-VERIFY-0804"),
            Self::BecameUnsafe { .. } => ReasonCode::new("HM-VERIFY-0805"),
            Self::FirmwareChanged { .. } => ReasonCode::new("HM-VERIFY-0806"),
            Self::TwoAgentRuns { .. } => ReasonCode::new("HM-VERIFY-0807"),
        }
    }

    fn values(&self) -> Option<String> {
        match self {
            Self::ResetCountWentBack { last, now } | Self::RestartCountWentBack { last, now } => {
                expected(format!("{last} or more"), now)
            }
            Self::ClockWentBack {
                last,
                now,
                rebooted,
                safe,
            } => expected(
                format!("{last} ms or more"),
                format!(
                    "{now} ms {}, safe = {}",
                    if *rebooted {
                        "after a reboot"
                    } else {
                        "in the same boot"
                    },
                    if *safe { "YES" } else { "NO" }
                ),
            ),
            Self::ClockJumped { passed, ran, most } => expected(
                format!("at most {most} ms ({passed} ms passed here)"),
                format!("{ran} ms"),
            ),
            Self::BecameUnsafe { reset_count } => expected("safe = YES", format!("NO, still in boot {reset_count}")),
            Self::FirmwareChanged { last, now } => expected(format!("{last:016x}"), format!("{now:016x}")),
            Self::TwoAgentRuns { ended, current } => expected(
                format!("only agent run {}", current.0),
                format!("agent run {} too", ended.0),
            ),
        }
    }
}

coded_by_row!(
    HistoryError,
    fn precise_cause(&self) -> Option<String> {
        let Self::ClockWentBack { rebooted, .. } = self else {
            return None;
        };
        // Without a reboot in between, no host can have lost what it had not saved.
        let crash = if *rebooted {
            "the host of a virtual machine crashed or lost power before the virtual TPM saved its clock, or "
        } else {
            ""
        };
        Some(format!(
            "{crash}an older copy of the TPM's state runs (a snapshot was restored)"
        ))
    },
    fn precise_step(&self) -> Option<String> {
        match self {
            Self::ClockWentBack { rebooted: false, .. } => Some(
                "if the snapshot was restored on purpose: hallmark node evict NODE, and the machine enrols again; a reboot does \
                 not help"
                    .to_owned(),
            ),
            _ => None,
        }
    }
);

#[cfg(test)]
mod tests {
    use hallmark_reason::Coded as _;

    use super::*;

    /// Who meets it need not know the runbook to get the machine back.
    #[test]
    fn a_clock_that_ran_too_fast_says_how_the_machine_comes_back() {
        let error = HistoryError::ClockJumped {
            passed: 1,
            ran: 3,
            most: 2,
        };
        let next = error.next_step().unwrap_or_default();
        for words in [
            "was ahead and was put right",
            "about eight times",
            "hallmark node evict NODE",
        ] {
            assert!(next.contains(words), "{next}");
        }
    }
}
