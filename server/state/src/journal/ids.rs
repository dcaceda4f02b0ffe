//! The ids of the last records: a transaction becomes a record once.

use std::collections::{HashMap, VecDeque};

/// Ids that are remembered. Those of older records are found in the journal, which costs a look at its rows.
const REMEMBERED: usize = 1 << 14;

/// The ids of the last records.
///
/// A transaction was made after the record that it names in its [`Expect`](super::Expect), so its own record, if it has one,
/// comes after that: where the expected revision is not below [`floor`](Self::floor), what is remembered answers for the
/// whole journal.
#[derive(Debug)]
pub struct RecentIds {
    /// Nothing is known of records up to this one.
    floor: u64,
    revisions: HashMap<[u8; 16], u64>,
    order: VecDeque<(u64, [u8; 16])>,
}

impl RecentIds {
    /// Nothing is remembered of the records up to `revision`.
    #[must_use]
    pub fn new(revision: u64) -> Self {
        Self {
            floor: revision,
            revisions: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The last record of which nothing is remembered.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// The record that the transaction with this id became, as far as is remembered.
    #[must_use]
    pub fn revision_of(&self, id: &[u8; 16]) -> Option<u64> {
        self.revisions.get(id).copied()
    }

    /// The transaction with this id became the record `revision`.
    pub fn push(&mut self, revision: u64, id: [u8; 16]) {
        self.revisions.insert(id, revision);
        self.order.push_back((revision, id));
        if self.order.len() > REMEMBERED
            && let Some((oldest, id)) = self.order.pop_front()
        {
            self.floor = oldest;
            self.revisions.remove(&id);
        }
    }

    /// The records after `revision` did not become durable.
    pub fn forget_after(&mut self, revision: u64) {
        while let Some((_, id)) = self.order.pop_back_if(|(last, _)| *last > revision) {
            self.revisions.remove(&id);
        }
        self.floor = self.floor.min(revision);
    }
}
