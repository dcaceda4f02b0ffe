//! What every request shares.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use hallmark_host::LastReload;
use hallmark_hsm::KeyStore;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::Registry;
use hallmark_store::Store;
use tokio::sync::Mutex;

use crate::{
    agents::Agents, attest::Attestation, authority_keeper::ActiveAuthority, clock::Clock, compute::Compute,
    config::Lifetimes, kept::Kept, lifecycle::Lifecycle, limits::Limits, metrics::Metrics, policy_files::PolicyFiles,
    probe::Probe,
};

/// The server: its parts, and the state that requests read and change.
///
/// Memory is what requests are answered from; the store is what memory is rebuilt from. Whoever changes
/// something commits to the store first and to memory second, under the lock of its writers.
pub struct Server {
    /// The trust domain that it speaks for.
    pub trust_domain: TrustDomain,
    /// SPIFFE IDs that administer the server over TLS, by configuration.
    pub admin_ids: ArcSwap<BTreeSet<SpiffeId>>,
    /// Lifetimes of what is issued.
    pub lifetimes: Lifetimes,
    /// Where it listens, for people.
    pub address: String,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The token.
    pub keys: Arc<dyn KeyStore>,
    /// Whether the authority's key signs.
    pub probe: Probe,
    /// What is counted and timed.
    pub metrics: Metrics,
    /// The attested nodes.
    pub agents: Agents,
    /// How far the evidence goes that is kept of each node.
    pub kept: Kept,
    /// The policies and baselines that were applied.
    pub policy_files: PolicyFiles,
    /// Held by whoever changes entries, from reading the registry until memory has followed the store.
    pub entry_writer: Mutex<()>,
    /// The authority that signs, and the bundle.
    pub authority: ArcSwap<ActiveAuthority>,
    /// How evidence is judged.
    pub attestation: Attestation,
    /// The life of nodes, and the inventory.
    pub lifecycle: Lifecycle,
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
    pub(crate) registry: RwLock<Registry>,
}

impl Server {
    /// The entries, to read. Never held across an `await`.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries, to change: after the commit, with [`Server::entry_writer`] held. Never held across an `await`.
    pub fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
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
