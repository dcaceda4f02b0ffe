//! Which keys were touched lately: what expectations are held against.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use super::{Expect, Key, Transaction};

/// Touches that are remembered; who decided on something older decides again.
const REMEMBERED: usize = 1 << 16;

/// The last records, as far as expectations are concerned. A key is known by its hash: two that share one make a decision be
/// made again, and nothing worse.
#[derive(Debug)]
pub struct Tail {
    hasher: RandomState,
    /// Nothing is known of records up to this one.
    floor: u64,
    last: HashMap<u64, u64>,
    order: VecDeque<(u64, u64)>,
}

impl Tail {
    /// A tail behind the record `revision`.
    #[must_use]
    pub fn new(revision: u64) -> Self {
        Self {
            hasher: RandomState::new(),
            floor: revision,
            last: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The first key of `expect` that was touched since.
    #[must_use]
    pub fn conflict<'a>(&self, expect: &'a Expect) -> Option<&'a Key> {
        let is_touched = |key: &&Key| {
            let last = self.last.get(&self.hasher.hash_one(key));
            last.is_some_and(|last| *last > expect.revision)
        };
        if expect.revision < self.floor {
            return expect.keys.first();
        }
        expect.keys.iter().find(is_touched)
    }

    /// The transaction became the record `revision`.
    pub fn push(&mut self, revision: u64, transaction: &Transaction) {
        for change in &transaction.changes {
            change.keys(|key| self.touch(revision, &key));
        }
    }

    fn touch(&mut self, revision: u64, key: &Key) {
        let hash = self.hasher.hash_one(key);
        if self.last.insert(hash, revision) == Some(revision) {
            return;
        }
        self.order.push_back((revision, hash));
        if self.order.len() > REMEMBERED
            && let Some((oldest, hash)) = self.order.pop_front()
        {
            self.floor = self.floor.max(oldest);
            if self.last.get(&hash) == Some(&oldest) {
                self.last.remove(&hash);
            }
        }
    }
}
