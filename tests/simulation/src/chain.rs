//! A server's events, as one number: two that are the same so far have the same one.

use std::hash::{DefaultHasher, Hasher as _};

use hallmark_state::{Record, journal::encoding::event_bytes};

/// The events up to some record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    hash: u64,
    events: u64,
}

impl Chain {
    /// With the events of the next record.
    pub(crate) fn with(self, record: &Record) -> Self {
        record.transaction.events.iter().fold(self, |chain, event| {
            // Its keys are fixed: the same bytes give the same number.
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(chain.hash);
            hasher.write(&event_bytes(event));
            Self {
                hash: hasher.finish(),
                events: chain.events + 1,
            }
        })
    }
}
