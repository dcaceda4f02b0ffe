//! Answers that leave SVIDs out, since a client could not read a message with all of them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hallmark_host::log::{self, LogThrottle};
use hallmark_reason::{Coded, ReasonCode};
use prometheus_client::metrics::counter::Counter;

/// The most that an answer takes: what gRPC's libraries read.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// How long after such an answer it is told as the state of the Workload API.
const TOLD: Duration = Duration::from_secs(600);

/// An answer that leaves SVIDs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a workload was given the {} oldest of its {all} SVIDs: all of them do not fit a message", all - left_out)]
pub(crate) struct CutAnswer {
    /// How many SVIDs the workload has.
    pub(super) all: usize,
    /// How many of them it was not given.
    pub(super) left_out: usize,
}

impl Coded for CutAnswer {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-AGENT-0035")
    }

    fn compared(&self) -> Option<String> {
        let Self { all, left_out } = self;
        Some(format!(
            "{all} SVIDs, {left_out} left out; a message has {MOST_BYTES} bytes at most"
        ))
    }
}

/// What is noted of such answers.
#[derive(Debug, Default)]
pub(crate) struct CutAnswers {
    last: Mutex<Option<(Instant, CutAnswer)>>,
    throttle: LogThrottle,
    /// How many were made.
    pub(crate) count: Counter,
}

impl CutAnswers {
    /// Notes and tells one.
    pub(super) fn note(&self, cut: CutAnswer) {
        self.count.inc();
        let now = Instant::now();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, cut));
        if self.throttle.due(now).is_some() {
            log::warn(&cut);
        }
    }

    /// The last one, as long as it says how the Workload API is doing.
    pub(crate) fn lately(&self) -> Option<CutAnswer> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < TOLD).map(|(_, cut)| cut)
    }
}
