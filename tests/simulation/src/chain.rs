//! The records that a server knows, with their events, as one number: two that know the same have the same one.

use std::hash::{DefaultHasher, Hasher as _};

use hallmark_state::{Record, journal::encoding::event_bytes};

/// The records up to some revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain(u64);

impl Chain {
    /// With the next record.
    pub(crate) fn with(self, record: &Record) -> Self {
        // Its keys are fixed: the same bytes give the same number.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write(&record.transaction.id);
        for event in &record.transaction.events {
            hasher.write(&event_bytes(event));
        }
        Self(hasher.finish())
    }
}
