//! The services with fixed answers: what these tests look at is the program, not the server. Entries are kept by the
//! server's own registry, so that pages, filters and conflicts are real.

mod admin;
mod agents;
mod authorities;
mod bundles;
mod entries;
mod lifecycle;
mod provision;

pub(crate) use authorities::{ACTIVE, OLD, PREPARED, RETIRED, X509};

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hallmark_api::{
    admin::{ImageAssignment, Node},
    types,
};
use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::TrustDomain;
use hallmark_state::Registry;

use tonic::Status;

/// 2026-11-23T00:00:00Z.
pub(crate) const NOW: i64 = 1_795_392_000;
/// 2100-01-01T00:00:00Z: far enough that nothing expires while tests run.
pub(crate) const FAR: i64 = 4_102_444_800;
pub(crate) const NODE_A: &str = "3f9a000000000000000000000000000000000000000000000000000000000001";
pub(crate) const NODE_B: &str = "3f9b000000000000000000000000000000000000000000000000000000000002";
pub(crate) const NODE_C: &str = "77c0000000000000000000000000000000000000000000000000000000000003";
/// Waits for approval.
pub(crate) const NODE_D: &str = "88d0000000000000000000000000000000000000000000000000000000000004";

/// The server's state; clones share it.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) agents: Vec<types::Agent>,
    /// Nodes that were never let in.
    pub(crate) unseen: Vec<Node>,
    /// Why entries were changed.
    pub(crate) reasons: Vec<String>,
    /// What was asked of nodes: action, reason.
    pub(crate) asked: Vec<(String, String)>,
    pub(crate) inventory: BTreeMap<EkId, InventoryItem>,
    /// By the machine as it was named.
    pub(crate) images: BTreeMap<String, ImageAssignment>,
    pub(crate) authorities: Vec<Vec<u8>>,
    /// Signs what is minted.
    pub(crate) issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// The lifetimes that were asked for.
    pub(crate) minted: Vec<i32>,
    pub(crate) hsm_ready: bool,
    pub(crate) key_extractable: bool,
    /// How often the server's status was asked.
    pub(crate) looks: u64,
    /// After how many looks a policy is applied; or after this time.
    pub(crate) answers_after: u64,
    pub(crate) patience: Duration,
    /// What was put in force: kind and file.
    pub(crate) applied: Vec<(String, Vec<u8>, bool)>,
    /// So many batches of entries are answered; at the next one the connection breaks.
    pub(crate) batches: usize,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let banned = types::Agent {
            banned: true,
            x509svid_serial_number: String::new(),
            ..agents::agent(NODE_C)
        };
        let (certificate, issuer) = bundles::authority();
        Self(Arc::new(Mutex::new(State {
            registry: Registry::new(&td()),
            unseen: vec![lifecycle::pending(NODE_D)],
            asked: Vec::new(),
            reasons: Vec::new(),
            inventory: BTreeMap::new(),
            agents: vec![agents::agent(NODE_A), agents::agent(NODE_B), banned],
            images: BTreeMap::new(),
            authorities: vec![certificate],
            issuer,
            minted: Vec::new(),
            hsm_ready: true,
            key_extractable: false,
            looks: 0,
            answers_after: 0,
            patience: Duration::from_secs(60),
            applied: Vec::new(),
            batches: usize::MAX,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

pub(crate) fn td() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: "example.org".into(),
        path: path.into(),
    })
}

pub(crate) fn selector(kind: &str, value: &str) -> types::Selector {
    types::Selector {
        r#type: kind.into(),
        value: value.into(),
    }
}

fn unused<T>() -> Result<tonic::Response<T>, Status> {
    Err(Status::unimplemented("not part of these tests"))
}
