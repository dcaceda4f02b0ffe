//! One quote after another.

use std::time::Duration;

use super::{HistoryError, QuoteClock};

/// How much faster than the server's the TPM's clock may run, in percent: the specification allows an inexact
/// oscillator and a rate that the owner adjusts.
pub const CLOCK_DRIFT_PERCENT: u64 = 15;

/// How far apart, beyond drift, the TPM's and the server's clock may lie between two quotes: a quote may be as old as
/// its challenge lives, at either end.
pub const STEP_TOLERANCE: Duration = Duration::from_secs(120);

/// The TPM writes its clock to non-volatile memory at least this often (2^22 ms; part 1, "Clock"). When power fails it
/// goes on from what was written, or from the next value that would have been: it may repeat, or skip, this much, and
/// says so by `safe` = NO until it is past any value that it may have reported before.
pub const CLOCK_SAVED_WITHIN: Duration = Duration::from_millis(1 << 22);

/// How a quote follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// The first that was ever seen of this TPM.
    First,
    /// The machine ran on: registers and logs only grew.
    SameBoot,
    /// The machine slept and woke (`restartCount` grew). A TPM restart resets the registers, so the logs are wanted
    /// from their beginning.
    Resumed,
    /// The machine was booted (`resetCount` grew): whole log, and policy from the start.
    Rebooted,
}

/// How a quote follows the one before, and what is worth telling though it refuses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// What happened between the two.
    pub continuity: Continuity,
    /// By how much the TPM's clock fell behind the server's, beyond drift: the machine was switched off, slept, or (a
    /// virtual one) was paused.
    pub lag: Duration,
    /// Whether the TPM's firmware version changed, which it may over a reboot.
    pub firmware_changed: bool,
}

/// Judges `now` as the successor of `last`, both of one TPM.
///
/// - `resetCount` grew: a reboot. The clock may go on from where it was or later; it may repeat up to
///   [`CLOCK_SAVED_WITHIN`] only if the TPM says `safe` = NO, that is: once per loss of power.
/// - `resetCount` is the same: the clock never goes back, the firmware version is the same, `restartCount` does not
///   shrink, and what was `safe` stays so until the next restart.
/// - In either case the clock runs no faster than the server's, with tolerance for drift. It may fall behind: the TPM's
///   clock stands still without power. Where the server's own clock went back, or the time of `last` is not known, nothing
///   is said of speed.
///
/// # Errors
/// [`HistoryError`]: the counters or the clock went back, or the clock or the firmware version jumped.
pub(super) fn follow(last: &QuoteClock, now: &QuoteClock) -> Result<Succession, HistoryError> {
    let continuity = counters(last, now)?;
    within_boot(continuity, last, now)?;
    let repeats = match continuity {
        Continuity::Rebooted if !now.safe => millis(CLOCK_SAVED_WITHIN),
        _ => 0,
    };
    if now.clock.saturating_add(repeats) < last.clock {
        return Err(HistoryError::ClockWentBack {
            last: last.clock,
            now: now.clock,
            rebooted: continuity == Continuity::Rebooted,
            safe: now.safe,
        });
    }
    Ok(Succession {
        continuity,
        lag: keep_pace(continuity, last, now)?,
        firmware_changed: last.firmware_version != now.firmware_version,
    })
}

fn counters(last: &QuoteClock, now: &QuoteClock) -> Result<Continuity, HistoryError> {
    let (last_reset, now_reset) = (last.reset_count, now.reset_count);
    let (last_restart, now_restart) = (last.restart_count, now.restart_count);
    if now_reset < last_reset {
        return Err(HistoryError::ResetCountWentBack {
            last: last_reset,
            now: now_reset,
        });
    }
    if now_reset > last_reset {
        return Ok(Continuity::Rebooted);
    }
    if now_restart < last_restart {
        return Err(HistoryError::RestartCountWentBack {
            last: last_restart,
            now: now_restart,
        });
    }
    Ok(if now_restart > last_restart {
        Continuity::Resumed
    } else {
        Continuity::SameBoot
    })
}

/// What cannot change while a machine runs.
fn within_boot(continuity: Continuity, last: &QuoteClock, now: &QuoteClock) -> Result<(), HistoryError> {
    if continuity != Continuity::Rebooted && last.firmware_version != now.firmware_version {
        return Err(HistoryError::FirmwareChanged {
            last: last.firmware_version,
            now: now.firmware_version,
        });
    }
    if continuity == Continuity::SameBoot && last.safe && !now.safe {
        return Err(HistoryError::BecameUnsafe {
            reset_count: now.reset_count,
        });
    }
    Ok(())
}

/// Refuses a clock that ran too fast; tells by how much it fell behind.
fn keep_pace(continuity: Continuity, last: &QuoteClock, now: &QuoteClock) -> Result<Duration, HistoryError> {
    let known = (last.seen_at > 0).then_some(last.seen_at);
    let Some(passed) = known.and_then(|before| now.seen_at.checked_sub(before)) else {
        return Ok(Duration::ZERO);
    };
    let ran = now.clock.saturating_sub(last.clock);
    let drift = passed.saturating_mul(CLOCK_DRIFT_PERCENT) / 100;
    let skipped = match continuity {
        Continuity::Rebooted => millis(CLOCK_SAVED_WITHIN),
        _ => 0,
    };
    let slack = drift.saturating_add(millis(STEP_TOLERANCE));
    let most = passed.saturating_add(slack).saturating_add(skipped);
    if ran > most {
        return Err(HistoryError::ClockJumped { passed, ran, most });
    }
    Ok(Duration::from_millis(passed.saturating_sub(slack).saturating_sub(ran)))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
