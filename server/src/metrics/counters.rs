//! Counts since the store was made, for the status.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the store was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attestations accepted.
    pub accepted: SharedCount,
    /// Attestations refused.
    pub refused: SharedCount,
    /// SVIDs issued.
    pub issued: SharedCount,
}

/// One count.
#[derive(Debug, Default)]
pub struct SharedCount(AtomicU64);

impl SharedCount {
    /// A count that starts at `value`.
    #[must_use]
    pub const fn starting_at(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
