//! How much one user, and all users together, may take of the agent.
//!
//! A user is counted with its subordinate user ids. The last eighth of everything is kept for root and for users that
//! hold few, and the last quarter of that for root alone: whoever takes what there is, with as many users as it can be,
//! leaves the others something.

use super::cut::CutAnswers;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whoever holds fewer than this many counts as holding few.
const FEW: u32 = 8;

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

/// What one connection takes of the process's open files: its socket, the pidfd of its process, and the watch on it.
const FILES_PER_CONNECTION: u32 = 3;
/// Open files that are the rest of the agent's: server, TPM, state, logs, binaries.
const FILES_FOR_THE_AGENT: u32 = 128;

impl Bounds {
    /// These bounds, with no more connections than a process with so many open files can have beside its own work: a
    /// user who opens connections must not keep the agent from reaching its server.
    #[must_use]
    pub fn within(self, open_files: u64) -> Self {
        let open_files = u32::try_from(open_files).unwrap_or(u32::MAX);
        let most = open_files.saturating_sub(FILES_FOR_THE_AGENT) / FILES_PER_CONNECTION;
        let connections = self.connections.min(most).max(1);
        Self {
            connections,
            // A quarter each, as ever.
            connections_per_uid: self.connections_per_uid.min((connections / 4).max(1)),
            ..self
        }
    }
}

/// Who takes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    /// The user that it counts as.
    pub(super) id: u32,
    /// Whether it is root itself, and not one of root's subordinate user ids.
    pub(super) root: bool,
}

/// Counts what is taken, by user, up to two bounds.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    total: u32,
    per_uid: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: u32,
    by_uid: HashMap<u32, u32>,
}

impl ConcurrencyLimit {
    pub(super) fn new(total: u32, per_uid: u32) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_uid,
            taken: Mutex::default(),
        })
    }

    /// Takes one permit, held until the result is dropped. `None` when a bound is reached.
    pub(super) fn take(self: &Arc<Self>, user: User) -> Option<Permit> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = user.id;
        let own = taken.by_uid.get(&uid).copied().unwrap_or(0);
        if taken.total >= self.total - self.kept_from(user, own) || own >= self.per_uid {
            return None;
        }
        taken.total += 1;
        taken.by_uid.insert(uid, own + 1);
        Some(Permit {
            limit: Arc::clone(self),
            uid,
        })
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> u32 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// How much of the whole is kept for others than a user that holds this many.
    fn kept_from(&self, user: User, own: u32) -> u32 {
        match own {
            _ if user.root => 0,
            0..FEW => self.total / 32,
            _ => self.total / 8,
        }
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

/// What callers take of the Workload API, to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    pub(super) connections: Arc<ConcurrencyLimit>,
    pub(super) streams: Arc<ConcurrencyLimit>,
    /// Answers that left SVIDs out.
    pub(crate) cuts: Arc<CutAnswers>,
}

impl Usage {
    /// Open connections.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.taken()
    }

    /// Open calls.
    pub(crate) fn streams(&self) -> u32 {
        self.streams.taken()
    }
}

/// A permit that is given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limit: Arc<ConcurrencyLimit>,
    uid: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.give_back(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_open_files_for_the_agents_own_work() {
        let all = Bounds::default();
        assert_eq!(
            all.within(524_288),
            all,
            "the control: where there are enough, nothing changes"
        );
        for open_files in [0_u32, 100, 256, 1024, 4096, 12_000] {
            let bounds = all.within(open_files.into());
            assert!(
                bounds.connections == 1 || bounds.connections * 3 + 128 <= open_files,
                "{bounds:?}"
            );
            assert!(bounds.connections_per_uid >= 1 && bounds.connections_per_uid <= bounds.connections);
            assert!(bounds.connections < 4 || bounds.connections_per_uid * 4 <= bounds.connections);
        }
    }

    fn user(id: u32) -> User {
        User { id, root: id == 0 }
    }

    #[test]
    fn a_reserve_stays_for_users_that_hold_few_and_for_root() {
        let limit = ConcurrencyLimit::new(320, 100);
        let take = |id| limit.take(user(id));
        // Users who take all they can get.
        let greedy: Vec<_> = (1..=3)
            .flat_map(|id| std::iter::from_fn(move || Some(id)).take(100))
            .filter_map(take)
            .collect();
        assert_eq!(greedy.len(), 280, "an eighth is left");
        let mut few: Vec<_> = (0..FEW).map(|_| take(50).unwrap()).collect();
        assert!(take(50).is_none(), "no longer few");
        few.extend((100..200).filter_map(take));
        assert_eq!(few.len(), 30, "but for the last of it");
        let subordinate_of_root = User { id: 0, root: false };
        assert!(limit.take(subordinate_of_root).is_none());
        assert_eq!((0..100).filter_map(|_| take(0)).collect::<Vec<_>>().len(), 10);
        drop(greedy);
        assert!(take(50).is_some());
    }

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let limit = ConcurrencyLimit::new(3, 2);
        let (one, two) = (limit.take(user(1)).unwrap(), limit.take(user(1)).unwrap());
        assert!(limit.take(user(1)).is_none(), "the bound of one user");
        let three = limit.take(user(2)).unwrap();
        assert!(limit.take(user(3)).is_none(), "the bound of all");
        drop(two);
        assert!(limit.take(user(3)).is_some());
        drop((one, three));
        assert!(
            limit.taken.lock().unwrap().by_uid.is_empty(),
            "nothing is kept of who is gone"
        );
    }
}
