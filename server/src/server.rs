//! What every request shares.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use hallmark_host::LastReload;
use hallmark_hsm::KeyStore;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Node, State};
use hallmark_store::Store;

use crate::{
    appraise::Appraiser, attest::Attestation, authority::ActiveAuthority, clock::Clock, compute::Compute,
    config::Lifetimes, journal::Journal, limits::Limits, metrics::Metrics, nodes::Approval, probe::Probe,
};

/// The server: its parts.
pub struct Server {
    /// The trust domain that it speaks for.
    pub trust_domain: TrustDomain,
    /// SPIFFE IDs that administer the server over TLS, by configuration.
    pub admin_ids: ArcSwap<BTreeSet<SpiffeId>>,
    /// Lifetimes of what is issued.
    pub lifetimes: Lifetimes,
    /// Where it listens, for people.
    pub address: String,
    /// What it answers from, and how that changes.
    pub journal: Arc<Journal>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The token.
    pub keys: Arc<dyn KeyStore>,
    /// Whether the authority's key signs.
    pub probe: Probe,
    /// What is counted and timed.
    pub metrics: Metrics,
    /// The authority that signs, and the bundle.
    pub authority: ArcSwap<ActiveAuthority>,
    /// How evidence is judged.
    pub attestation: Attestation,
    /// Judges nodes again.
    pub appraiser: Appraiser,
    /// Who approves new nodes.
    pub approval: Approval,
    /// Per-caller limits.
    pub limits: Limits,
    /// What time it is.
    pub clock: Clock,
    /// Room for computations.
    pub compute: Compute,
    /// Counts for the status.
    pub counters: Counters,
    /// How the last reload went.
    pub last_reload: LastReload,
    /// When it started, in Unix seconds.
    pub started_at: i64,
}

impl Server {
    /// The state, to read. Never held across an `await`, nor for long.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.journal.state()
    }

    /// A node's row.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<Arc<Node>> {
        self.state().node(id).cloned()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// Counts since the store was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attestations accepted.
    pub accepted: Counter,
    /// Attestations refused.
    pub refused: Counter,
    /// SVIDs issued.
    pub issued: Counter,
}

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
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
