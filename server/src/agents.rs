//! The attested nodes in memory: what every request is checked against.
//!
//! The store is written first; memory follows. Writers of one node take turns, so that a ban is never undone by
//! an attestation that was under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, PoisonError, RwLock},
};

use hallmark_spiffe::SpiffeId;
use hallmark_state::NodeState;
use hallmark_store::{Agent, Change, Committed, Store, StoreError};
use tokio::sync::{Mutex, MutexGuard};

/// Writers of different nodes seldom meet, and then share a flush.
const WRITERS: usize = 64;

/// What becomes of a node's row.
#[derive(Debug, Clone)]
pub enum Decision<E> {
    /// It is added or replaced.
    Put(Box<Agent>),
    /// It is removed.
    Delete,
    /// It stays as it is; nothing is written.
    Keep,
    /// It stays as it is (or away); what stands beside it is written.
    Beside,
    /// The change is refused; nothing is written.
    Refuse(E),
}

/// A node, and its row after a change; `None`: it is forgotten.
pub type After = (SpiffeId, Option<Box<Agent>>);

/// Why a node was not changed.
#[derive(Debug)]
pub enum ChangeError<E> {
    /// The decision was to refuse.
    Refused(E),
    /// The store did not take it.
    Store(StoreError),
}

/// Nodes, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that were ever let in.
    pub admitted: u64,
    /// Those that wait, for approval or for their next attestation.
    pub pending: u64,
    /// Those that an operator took the identity from, for a time.
    pub suspended: u64,
    /// Those of the admitted that are banned.
    pub banned: u64,
    /// Those in service that get no SVIDs, since what they proved last does not hold.
    pub distrusted: u64,
    /// Those in service by their state.
    pub active: u64,
    /// Those in service whose newest SVID has run out.
    pub expired: u64,
    /// Those out of service for good.
    pub retired: u64,
}

/// Every attested node.
#[derive(Debug)]
pub struct Agents {
    rows: RwLock<BTreeMap<SpiffeId, Arc<Agent>>>,
    writers: Vec<Mutex<()>>,
}

impl Agents {
    /// The nodes as the store has them.
    #[must_use]
    pub fn new(rows: Vec<Agent>) -> Self {
        Self {
            rows: RwLock::new(rows.into_iter().map(|row| (row.id.clone(), Arc::new(row))).collect()),
            writers: (0..WRITERS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// One node.
    #[must_use]
    pub fn find(&self, id: &SpiffeId) -> Option<Arc<Agent>> {
        self.rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Every node, ordered by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// At most `limit` nodes whose id is above `after`, ordered by id: a page.
    #[must_use]
    pub fn page(&self, after: Option<&SpiffeId>, limit: usize) -> Vec<Arc<Agent>> {
        self.page_of(after, limit, |_| true)
    }

    /// The same, of the nodes that are `wanted`.
    #[must_use]
    pub fn page_of(&self, after: Option<&SpiffeId>, limit: usize, wanted: impl Fn(&Agent) -> bool) -> Vec<Arc<Agent>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.range::<SpiffeId, _>((from, Unbounded))
            .filter(|(_, row)| wanted(row))
            .take(limit)
            .map(|(_, row)| Arc::clone(row))
            .collect()
    }

    /// How many there are of each state at `now` (Unix seconds), and how many of them need an operator's eye.
    #[must_use]
    pub fn count(&self, now: i64) -> Counts {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut counts = Counts::default();
        for row in rows.values() {
            counts.admitted += u64::from(row.was_admitted());
            counts.distrusted += u64::from(row.state.is_served() && !row.distrust.is_empty());
            match row.state {
                NodeState::Pending => counts.pending += 1,
                NodeState::Suspended => counts.suspended += 1,
                NodeState::Banned => counts.banned += u64::from(row.was_admitted()),
                NodeState::Active => {
                    counts.active += 1;
                    counts.expired += u64::from(row.expires_at() <= now);
                }
                NodeState::Retired => counts.retired += 1,
                NodeState::PreRegistered => {}
            }
        }
        counts
    }

    /// How many nodes wait for approval that were never let in.
    #[must_use]
    pub fn count_pending(&self) -> usize {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.values()
            .filter(|row| row.state == NodeState::Pending && !row.was_admitted())
            .count()
    }

    /// Changes one node: `decide` sees its present row, the store makes the decision and the changes `beside` it
    /// durable together, then memory follows. Changes of one node happen one after the other.
    ///
    /// Once begun it must be run to its end, or memory stays behind: requests therefore run in tasks of their own
    /// (see [`crate::caller`]), which a caller who hangs up does not end.
    ///
    /// # Errors
    /// When `decide` refuses or the store fails; then nothing was changed.
    pub async fn change<E>(
        &self,
        store: &dyn Store,
        id: &SpiffeId,
        beside: Vec<Change>,
        decide: impl FnOnce(Option<&Agent>) -> Decision<E>,
    ) -> Result<Committed, ChangeError<E>> {
        self.change_with(store, id, |before| (decide(before), beside), || ())
            .await
    }

    /// As [`change_among`](Self::change_among), of a node that is nobody's sibling.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn change_with<E>(
        &self,
        store: &dyn Store,
        id: &SpiffeId,
        decide: impl FnOnce(Option<&Agent>) -> (Decision<E>, Vec<Change>),
        committed: impl FnOnce(),
    ) -> Result<Committed, ChangeError<E>> {
        self.change_among(store, id, &[], decide, committed).await
    }

    /// As [`change_with`](Self::change_with), where none of the `others` changes meanwhile either: nodes that could be the
    /// same machine, or the one whose holder asks for the change.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn change_among<E>(
        &self,
        store: &dyn Store,
        id: &SpiffeId,
        others: &[SpiffeId],
        decide: impl FnOnce(Option<&Agent>) -> (Decision<E>, Vec<Change>),
        committed: impl FnOnce(),
    ) -> Result<Committed, ChangeError<E>> {
        let decide = |rows: &[Option<Arc<Agent>>]| {
            let (decision, beside) = decide(rows.first().and_then(Option::as_deref));
            let after = match decision {
                Decision::Put(row) => vec![(id.clone(), Some(row))],
                Decision::Delete => vec![(id.clone(), None)],
                Decision::Beside => Vec::new(),
                Decision::Keep => return Ok((Vec::new(), Vec::new())),
                Decision::Refuse(why) => return Err(why),
            };
            Ok((after, beside))
        };
        self.change_together(store, std::slice::from_ref(id), others, decide, committed)
            .await
    }

    /// Changes several nodes in one step, all or none. `decide` sees the rows of `ids` in their order, none of which changes
    /// meanwhile, and gives those that become others (`None`: it goes), and what is made durable beside them. `committed` is
    /// run once all is durable.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn change_together<E>(
        &self,
        store: &dyn Store,
        ids: &[SpiffeId],
        others: &[SpiffeId],
        decide: impl FnOnce(&[Option<Arc<Agent>>]) -> Result<(Vec<After>, Vec<Change>), E>,
        committed: impl FnOnce(),
    ) -> Result<Committed, ChangeError<E>> {
        let _turns = self.turns(ids.iter().chain(others)).await;
        let before: Vec<_> = ids.iter().map(|id| self.find(id)).collect();
        let (after, beside) = decide(&before).map_err(ChangeError::Refused)?;
        let change = |(id, row): &After| match row {
            Some(row) => Change::PutAgent(row.clone()),
            None => Change::DeleteAgent(id.clone()),
        };
        let changes: Vec<Change> = after.iter().map(change).chain(beside).collect();
        if changes.is_empty() {
            return Ok(Committed::default());
        }
        let written = store.commit(changes).await.map_err(ChangeError::Store)?;
        committed();
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (id, row) in after {
            match row {
                Some(row) => rows.insert(id, Arc::from(row)),
                None => rows.remove(&id),
            };
        }
        Ok(written)
    }

    /// Forgets those of the nodes that `forget` names, and makes the changes `beside` it durable together with that.
    /// None of the nodes changes in between.
    ///
    /// # Errors
    /// When the store fails; then nothing was changed.
    pub async fn forget(
        &self,
        store: &dyn Store,
        ids: &[SpiffeId],
        forget: impl Fn(&Agent) -> Option<Change>,
        beside: Vec<Change>,
    ) -> Result<Vec<SpiffeId>, StoreError> {
        let _turns = self.turns(ids).await;
        let mut changes = beside;
        let mut forgotten = Vec::new();
        for row in ids.iter().filter_map(|id| self.find(id)) {
            if let Some(change) = forget(&row) {
                changes.extend([Change::DeleteAgent(row.id.clone()), change]);
                forgotten.push(row.id.clone());
            }
        }
        if !changes.is_empty() {
            store.commit(changes).await?;
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for id in &forgotten {
            rows.remove(id);
        }
        Ok(forgotten)
    }

    /// Waits until every change that is under way has come to its end.
    pub async fn settle(&self) {
        for writer in &self.writers {
            drop(writer.lock().await);
        }
    }

    /// While these are held, nobody else changes any of the nodes.
    pub async fn turns<'a>(&'a self, ids: impl IntoIterator<Item = &SpiffeId>) -> Vec<MutexGuard<'a, ()>> {
        // In the order of their places, so that two who take several never wait for each other.
        let places: BTreeSet<usize> = ids.into_iter().map(|id| self.place(id)).collect();
        let mut turns = Vec::with_capacity(places.len());
        for place in places {
            turns.push(self.writer_at(place).lock().await);
        }
        turns
    }

    fn place(&self, id: &SpiffeId) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        let count = u64::try_from(self.writers.len()).unwrap_or(1).max(1);
        usize::try_from(hash % count).unwrap_or(0)
    }

    fn writer_at(&self, at: usize) -> &Mutex<()> {
        #[expect(
            clippy::indexing_slicing,
            reason = "`at` is a remainder by the length, which is WRITERS"
        )]
        &self.writers[at]
    }
}
