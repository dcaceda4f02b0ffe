//! Processor time.

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// /proc counts in hundredths of a second on every architecture of Linux (`USER_HZ`).
const MICROSECONDS_PER_TICK: f64 = 10_000.0;

/// What a process has used so far, user and system, ended threads included, in microseconds.
pub(crate) fn of_process(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
    let ticks = |n| -> Result<f64> { Ok(fields.split_whitespace().nth(n).context("a short stat line")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) * MICROSECONDS_PER_TICK)
}

/// What the calling thread has used so far.
pub(crate) fn of_this_thread() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Memory that a process holds at the moment, in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most memory that a process ever held, in MiB.
pub(crate) fn peak_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("no {field}"))?;
    let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
