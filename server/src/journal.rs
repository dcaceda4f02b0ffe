//! The state in memory, and the one way in which it changes: decide, commit under what the decision rested on, and where
//! that has changed meanwhile, decide again.

mod act;
mod failure;
mod left_out;
mod unreadable;
mod unreadable_certificate;

pub use act::Act;
pub(crate) use failure::log_store_failure;
pub use failure::{operators_read_failed, read_failed, store_failed};
pub use left_out::{DamagedNodes, EntriesLeftOut};
pub use unreadable::Unreadable;
pub(crate) use unreadable::UnreadableNodes;
pub use unreadable_certificate::UnreadableCertificate;
pub(crate) use unreadable_certificate::UnreadableCertificates;

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard},
};

use hallmark_reason::Coded as _;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Committed, Decision, Done, Gap, Node, Record, State, Transaction, View};
use hallmark_store::{Follower, Store, StoreError};

use crate::clock::Clock;

/// How often a decision is made at most. Each time another one was faster that touched the same; with no lock anywhere one of
/// them always gets on.
const TRIES: usize = 64;

/// The journal of this server: its state, and the store that it follows.
pub struct Journal {
    state: Arc<Followed>,
    store: Arc<dyn Store>,
    clock: Clock,
    trust_domain: TrustDomain,
    unreadable: UnreadableNodes,
    unreadable_certificates: UnreadableCertificates,
}

/// The state follows the store, record by record.
struct Followed {
    state: RwLock<State>,
    /// The record that was expected and the one that came, once the numbers had a hole or went back: from then on the state is
    /// not the store's, and nothing is decided by it.
    lost: OnceLock<Gap>,
    /// Rules or trust that another server put in force and that this one does not have.
    unknown: OnceLock<&'static str>,
}

impl Followed {
    const fn new(state: State) -> Self {
        Self {
            state: RwLock::new(state),
            lost: OnceLock::new(),
            unknown: OnceLock::new(),
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn require_followed(&self) -> Result<(), StoreError> {
        if let Some(what) = self.unknown.get().copied() {
            return Err(StoreError::OtherServers { what });
        }
        match self.lost.get().copied() {
            None => Ok(()),
            Some(Gap { expected, found }) => Err(StoreError::Hole { expected, found }),
        }
    }
}

impl Follower for Followed {
    fn follow(&self, records: &[Record]) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            if self.require_followed().is_ok()
                && let Err(gap) = state.follow(record)
            {
                let _ = self.lost.set(gap);
            }
            if let Err(error) = self.require_followed() {
                tracing::error!(code = %error.code(), %error, "the server's state no longer follows the store");
                return;
            }
            if let Some(what) = state.unknown() {
                let _ = self.unknown.set(what);
            }
        }
    }
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum Failed<E> {
    /// The decision was to refuse.
    Refused(E),
    /// The store did not take it.
    Store(StoreError),
}

impl<E> From<StoreError> for Failed<E> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Journal {
    /// A journal that begins with `state`, which was made of what `store` has; nothing may have been written since.
    #[must_use]
    pub fn new(state: State, store: Arc<dyn Store>, clock: Clock) -> Self {
        let trust_domain = state.trust_domain().clone();
        let state = Arc::new(Followed::new(state));
        store.follow(Arc::<Followed>::clone(&state));
        Self {
            state,
            store,
            clock,
            trust_domain,
            unreadable: UnreadableNodes::default(),
            unreadable_certificates: UnreadableCertificates::default(),
        }
    }

    /// The state, to read. Never held across an `await`, nor for long: the store's writer waits for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.state()
    }

    /// A node's row.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<Arc<Node>> {
        self.state().node(id).cloned()
    }

    /// Nodes of which what the store keeps does not read back.
    pub(crate) const fn unreadable(&self) -> &UnreadableNodes {
        &self.unreadable
    }

    /// EKs whose kept certificate does not read back.
    pub(crate) const fn unreadable_certificates(&self) -> &UnreadableCertificates {
        &self.unreadable_certificates
    }

    /// Whose state it is.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The clock that decisions are made by.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where everything is kept.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Decides and makes durable what was decided by `actor`; decides again as long as others are faster. Answers when the
    /// state has followed.
    ///
    /// # Errors
    /// [`Failed`]: the decision was to refuse, or the store does not take it. Then nothing was changed.
    pub async fn decide<T, E>(
        &self,
        actor: &str,
        mut decide: impl FnMut(View<'_>) -> Result<(Decision, T), E>,
    ) -> Result<Done<T>, Failed<E>> {
        self.decide_as(|view| decide(view).map(|(decision, answer)| (actor.to_owned(), decision, answer)))
            .await
    }

    /// As [`decide`](Self::decide), where the decision tells who made it.
    ///
    /// # Errors
    /// As [`decide`](Self::decide).
    pub async fn decide_as<T, E>(
        &self,
        mut decide: impl FnMut(View<'_>) -> Result<(String, Decision, T), E>,
    ) -> Result<Done<T>, Failed<E>> {
        let mut tries = 0;
        loop {
            let decided = {
                let state = self.state();
                decide(View::new(&state))
            };
            let (actor, decision, answer) = decided.map_err(Failed::Refused)?;
            match self.commit(&actor, decision).await {
                Ok(committed) => return Ok(Done { committed, answer }),
                Err(StoreError::Conflict { key }) if tries < TRIES => {
                    tries += 1;
                    tracing::debug!(?key, tries, "another decision was faster");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a decision durable, unless what it rested on has changed since. Where there is nothing to do, nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Hole`], or the store's.
    pub async fn commit(&self, actor: &str, decision: Decision) -> Result<Committed, StoreError> {
        if decision.is_empty() {
            return Ok(Committed::default());
        }
        self.state.require_followed()?;
        self.store.commit(self.transaction(actor, decision)?).await
    }

    /// Queues what nobody waits for, and what rests on nothing.
    pub fn commit_later(&self, actor: &str, decision: Decision) {
        match self.transaction(actor, decision) {
            Ok(transaction) => self.store.commit_later(transaction),
            Err(error) => tracing::error!(code = %error.code(), %error, "a change was not queued"),
        }
    }

    fn transaction(&self, actor: &str, mut decision: Decision) -> Result<Transaction, StoreError> {
        // What rests on nothing is made now: the store looks for its id among later records alone.
        if decision.expect.keys.is_empty() {
            decision.expect.revision = self.state().revision();
        }
        transaction(actor, decision, &self.clock)
    }
}

/// The transaction of a decision that was made now.
///
/// # Errors
/// When the system has no random bytes to give.
pub(crate) fn transaction(actor: &str, decision: Decision, clock: &Clock) -> Result<Transaction, StoreError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| StoreError::Random)?;
    Ok(decision.into_transaction(id, actor, clock.unix()))
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("revision", &self.state().revision())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hallmark_policy::PolicySet;
    use hallmark_state::{Change, Configured, Expect, Manifest, Snapshot};
    use hallmark_verify::Trust;

    use super::*;

    fn record(revision: u64) -> Record {
        let decision = Decision {
            expect: Expect::default(),
            changes: vec![Change::PutBundleSequence(revision)],
            events: Vec::new(),
        };
        Record {
            revision,
            first_event: 1,
            transaction: Arc::new(decision.into_transaction([0; 16], "test", 0)),
        }
    }

    #[test]
    fn a_state_that_missed_a_record_decides_nothing_any_more() {
        let followed = || {
            let configured = Configured {
                trust: Arc::new(Trust::default()),
                set: Arc::new(PolicySet::default()),
            };
            let trust_domain = TrustDomain::parse("example.org").unwrap();
            Followed::new(State::new(&trust_domain, Snapshot::default(), configured))
        };
        let control = followed();
        control.follow(&[record(1), record(2)]);
        control.follow(&[record(3)]);
        assert_eq!((control.state().revision(), control.require_followed()), (3, Ok(())));
        for (wrong, expected) in [(2, 1), (0, 1)] {
            let followed = followed();
            followed.follow(&[record(wrong)]);
            followed.follow(&[record(1)]);
            let hole = StoreError::Hole { expected, found: wrong };
            assert_eq!(
                (followed.state().revision(), followed.require_followed()),
                (0, Err(hole))
            );
        }
    }

    #[test]
    fn a_server_without_the_rules_in_force_decides_nothing_any_more() {
        let rules = |set, part| Record {
            transaction: Arc::new(
                Decision {
                    expect: Expect::default(),
                    changes: vec![Change::PutRules {
                        set,
                        manifest: Manifest::new([("configuration".to_owned(), [part; 32])]),
                    }],
                    events: Vec::new(),
                }
                .into_transaction([0; 16], "test", 0),
            ),
            ..record(1)
        };
        let configured = Configured {
            trust: Arc::new(Trust::default()),
            set: Arc::new(PolicySet::default()),
        };
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let followed = Followed::new(State::new(&trust_domain, Snapshot::default(), configured));
        // The control: its own, and the same ones as another server's.
        followed.follow(&[rules(Some(Arc::new(PolicySet::default())), 1)]);
        let after = |revision, record: Record| Record { revision, ..record };
        followed.follow(&[after(2, rules(None, 1))]);
        assert_eq!(followed.require_followed(), Ok(()));
        followed.follow(&[after(3, rules(None, 2))]);
        let other = StoreError::OtherServers { what: "rules" };
        assert_eq!(followed.require_followed(), Err(other));
    }
}
