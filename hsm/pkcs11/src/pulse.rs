//! When a thread in the module was last seen to get on.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A sign of life, given between two calls into the module. One call that lasts too long is a hang; many that are slow are not.
#[derive(Debug)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(now()))
    }

    pub(crate) fn beat(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    /// For how long there was none.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(now().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds since this process asked first.
fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}
