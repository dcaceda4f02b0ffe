//! What a decision asks for, and what the store makes of it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Change, Event, EventRange, Key};

/// What a decision asks for: all of it is durable, or none.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// What tells it from every other: random.
    pub id: [u8; 16],
    /// When it was decided, in Unix seconds.
    pub at: i64,
    /// Who decided, as exactly as that is known.
    pub actor: Arc<str>,
    /// What it rests on.
    pub expect: Expect,
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// What a decision rested on: no record after `revision` may have touched one of `keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// The last record that the decision knew of.
    pub revision: u64,
    /// The parts of the state that it looked at.
    pub keys: BTreeSet<Key>,
}

/// A transaction that is durable, with its number.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number: 1, 2, 3, … without a gap, in the order in which transactions became durable.
    pub revision: u64,
    /// The number of its first event; of the next one's where it has none.
    pub first_event: u64,
    /// The transaction.
    pub transaction: Arc<Transaction>,
}

impl Record {
    /// The numbers of its events; `None` when there are none.
    #[must_use]
    pub fn events(&self) -> Option<EventRange> {
        range(self.first_event, self.transaction.events.len())
    }
}

/// The numbers of `count` events from `first` on; `None` when there are none.
pub(super) fn range(first: u64, count: usize) -> Option<EventRange> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    (count > 0).then(|| EventRange {
        first,
        last: first.saturating_add(count - 1),
    })
}

/// What a commit made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// The record's number; 0 where there was nothing to write.
    pub revision: u64,
    /// Its events' numbers; `None` when there are none.
    pub events: Option<EventRange>,
}
