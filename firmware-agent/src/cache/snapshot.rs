//! One consistent view of everything that workloads of this machine may hold.

use std::collections::BTreeSet;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::SystemTime;

use bytes::Bytes;
use hallmark_spiffe::{Bundle, Selector, SpiffeId, TrustDomain};

use super::SecretBytes;

/// Everything that may be served at one moment. Cheap to clone: lists of `Arc`s and shared buffers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub version: u64,
    /// The agent is attested and has had its first complete answer from the server. Before that, "no
    /// identity issued" would be a guess.
    pub ready: bool,
    /// The agent's own trust domain.
    pub trust_domain: TrustDomain,
    /// The trust domain's X.509 authorities: DER certificates, one after the other (WLA `bundle`).
    pub bundle: Bytes,
    /// Counts changes of `bundle` alone.
    pub bundle_version: u64,
    /// The trust domain's JWT authorities, and nothing else of its bundle.
    pub jwt_bundle: Arc<Bundle>,
    /// The entries this agent is authorised for, in order of (`created_at`, `entry_id`), oldest first.
    pub entries: Arc<[Arc<WorkloadEntry>]>,
}

impl Snapshot {
    /// Nothing yet: not ready, no bundle, no entries.
    #[must_use]
    pub fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            version: 0,
            ready: false,
            jwt_bundle: Arc::new(Bundle::empty(trust_domain.clone())),
            trust_domain,
            bundle: Bytes::new(),
            bundle_version: 0,
            entries: Arc::from([]),
        }
    }

    /// The entries whose every selector is among `facts`, oldest first.
    pub fn matching<'a>(&'a self, facts: &'a BTreeSet<Selector>) -> impl Iterator<Item = &'a Arc<WorkloadEntry>> {
        self.entries
            .iter()
            .filter(move |entry| entry.selectors.is_subset(facts))
    }
}

/// A registration entry as the agent knows it, with its SVID once there is one.
#[derive(Clone, Debug)]
pub struct WorkloadEntry {
    /// The entry's id.
    pub entry_id: Arc<str>,
    /// Counts the entry's changes at the server.
    pub revision: i64,
    /// What a workload must have, all of it; never empty.
    pub selectors: BTreeSet<Selector>,
    /// The SPIFFE ID that the entry gives.
    pub spiffe_id: SpiffeId,
    /// Tells several SVIDs of one workload apart; may be empty.
    pub hint: Arc<str>,
    /// Seconds since the Unix epoch; the oldest entry of a hint is served (WLA, hints).
    pub created_at: i64,
    /// Whether the agent is to hold an SVID for it: an entry that disables prefetching is not wanted before a workload asks
    /// for it.
    pub wanted: bool,
    /// Whether a workload has asked for its SVID since that was issued.
    pub is_used: Arc<AtomicBool>,
    /// The X.509-SVID; `None` until the first one is issued, and again once it has expired while the
    /// server was away.
    pub x509: Option<X509Material>,
}

impl WorkloadEntry {
    /// Whether it has no SVID and is to have one.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.wanted && self.x509.is_none()
    }
}

/// An X.509-SVID with its key. Cloning shares the buffers.
#[derive(Clone, Debug)]
pub struct X509Material {
    /// DER certificates, leaf first, one after the other.
    pub chain: Bytes,
    /// The key as PKCS#8 DER, unencrypted; wiped when the last holder lets go.
    pub key: SecretBytes,
    /// The leaf's notBefore.
    pub not_before: SystemTime,
    /// The leaf's notAfter; never served later than this.
    pub not_after: SystemTime,
}
