//! One quote, as far as history is concerned.

use std::time::{SystemTime, UNIX_EPOCH};

use hallmark_tpm_wire::ClockInfo;
use serde::{Deserialize, Serialize};

/// What a verified quote said of resets and clock, and when the server saw it. The server keeps the last one of every
/// TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteClock {
    /// `resetCount`: reboots of the machine.
    pub reset_count: u32,
    /// `restartCount`: resumes since the last reset.
    pub restart_count: u32,
    /// `Clock`: milliseconds that the TPM has been powered.
    pub clock: u64,
    /// `safe`: no greater value of the clock was ever reported.
    pub safe: bool,
    /// The TPM's firmware version.
    pub firmware_version: u64,
    /// The server's time, in milliseconds since the Unix epoch; 0 where it is not known.
    pub seen_at: u64,
}

impl QuoteClock {
    /// What a verified quote says, seen at `now`. A time before 1970 counts as 1970.
    #[must_use]
    pub(crate) fn of_quote(clock: &ClockInfo, firmware_version: u64, now: SystemTime) -> Self {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            clock: clock.clock,
            safe: clock.safe,
            firmware_version,
            seen_at: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The same, seen at a time that is not known: the server's clock was wrong then. Counters and clock stay the measure
    /// of what comes next; how fast the TPM's clock ran since cannot be told.
    #[must_use]
    pub const fn without_time(self) -> Self {
        Self { seen_at: 0, ..self }
    }

    /// Whether both are of one boot without a resume between: then registers and logs only grew, and a log may be
    /// continued where it ended.
    #[must_use]
    pub const fn is_same_run(&self, other: &Self) -> bool {
        self.reset_count == other.reset_count && self.restart_count == other.restart_count
    }
}
