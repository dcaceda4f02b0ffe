//! How much one user, and all users together, may take of the agent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The bounds of the Workload API. Whatever goes beyond is refused as `Unavailable`, or not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections in total.
    pub connections: u32,
    /// Connections of one uid.
    pub connections_per_uid: u32,
    /// Open calls in total.
    pub streams: u32,
    /// Open calls of one uid.
    pub streams_per_uid: u32,
    /// Open calls of one connection.
    pub streams_per_connection: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_uid: 1024,
            streams: 16_384,
            streams_per_uid: 4096,
            streams_per_connection: 256,
        }
    }
}

/// Counts what is taken, by uid, up to two bounds.
#[derive(Debug)]
pub(super) struct Counter {
    total: u32,
    per_uid: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: u32,
    by_uid: HashMap<u32, u32>,
}

impl Counter {
    pub(super) fn new(total: u32, per_uid: u32) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_uid,
            taken: Mutex::default(),
        })
    }

    /// Takes one place, held until the result is dropped. `None` when a bound is reached.
    pub(super) fn take(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_uid.get(&uid).copied().unwrap_or(0);
        if taken.total >= self.total || own >= self.per_uid {
            return None;
        }
        taken.total += 1;
        taken.by_uid.insert(uid, own + 1);
        Some(Place {
            counter: Arc::clone(self),
            uid,
        })
    }

    fn give_back(&self, uid: u32) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total = taken.total.saturating_sub(1);
        match taken.by_uid.get_mut(&uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.by_uid.remove(&uid);
            }
        }
    }
}

/// A place that is given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    counter: Arc<Counter>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counter.give_back(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let counter = Counter::new(3, 2);
        let (one, two) = (counter.take(1).unwrap(), counter.take(1).unwrap());
        assert!(counter.take(1).is_none(), "the bound of one user");
        let three = counter.take(2).unwrap();
        assert!(counter.take(3).is_none(), "the bound of all");
        drop(two);
        assert!(counter.take(3).is_some());
        drop((one, three));
        assert!(
            counter.taken.lock().unwrap().by_uid.is_empty(),
            "nothing is kept of who is gone"
        );
    }
}
