//! The life of nodes: who is let in, who waits, what operators change, and the inventory.

mod admission;
mod approver;
mod change;
mod inventory;
mod links;
mod second;
mod transfer;

pub(crate) use admission::admitted;
pub use admission::{admission, barred, let_in};
pub use approver::ApproverRule;
pub use change::{Ask, ChangeFailed, Changed, change};
pub use inventory::Known;
pub(crate) use links::{id_of_line, node_of_line, siblings};
pub use links::{link_at_start, require_one_node, set_trust};
pub use transfer::{Import, Imported, import, remove};

use std::{
    collections::BTreeMap,
    mem::take,
    sync::{Arc, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use hallmark_node::{EkId, InventoryItem};
use hallmark_state::{Approvers, Links, NodeState};
use hallmark_store::{Agent, Loaded};
use hallmark_verify::{Revocation, Trust};
use tokio::sync::Mutex;

use crate::config::Tpm2;

/// What the server needs to know about the life of nodes, beside the nodes themselves.
#[derive(Debug)]
pub struct Lifecycle {
    approvers: Approvers,
    approver_rule: ApproverRule,
    approval_lifetime: Duration,
    /// The configuration's share.
    configured: ArcSwap<Trust>,
    known: ArcSwap<Known>,
    links: RwLock<Links>,
    /// Held by whoever changes the inventory or a node, as an operator asks, from reading until memory has followed the store.
    writer: Mutex<()>,
    /// What one administrator over TLS asked for and a second one has to ask for as well.
    first_requests: second::FirstRequests,
}

impl Lifecycle {
    /// As configured, with what the store has of the inventory and of the keys of machines.
    #[must_use]
    pub fn new(tpm2: &Tpm2, loaded: &mut Loaded) -> Self {
        let configured = Arc::new(tpm2.trust.clone());
        let (names, machines) = (take(&mut loaded.tpm_names), take(&mut loaded.machine_eks));
        let links = links::stored(names, machines, &loaded.agents);
        let lines = take(&mut loaded.inventory)
            .into_iter()
            .map(|line| (line.ek, line))
            .collect();
        Self {
            approvers: tpm2.approvers,
            approver_rule: ApproverRule::new(tpm2.approver_list.clone()),
            approval_lifetime: tpm2.approval_lifetime,
            known: ArcSwap::from_pointee(Known::new(&configured, lines)),
            links: RwLock::new(links),
            configured: ArcSwap::new(configured),
            writer: Mutex::new(()),
            first_requests: second::FirstRequests::default(),
        }
    }

    /// Roots, and both inventories: the file's and the store's.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.known.load().trust()
    }

    /// The store's inventory as it is now.
    #[must_use]
    pub fn inventory(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// How many operators approve a new node.
    #[must_use]
    pub const fn approvers(&self) -> Approvers {
        self.approvers
    }

    /// How long an approval counts.
    #[must_use]
    pub const fn approval_lifetime(&self) -> Duration {
        self.approval_lifetime
    }

    /// How many approvals of a node count at `now`.
    #[must_use]
    pub fn approvals_in_force(&self, row: &Agent, now: i64) -> usize {
        row.ek_sha256
            .map_or(0, |ek| row.approvals.in_force(&ek, now, self.approval_lifetime).count())
    }

    /// Where a node stands: by its row, or without one by the inventory; `None` for one that nobody knows.
    #[must_use]
    pub fn state(&self, row: Option<&Agent>, ek_sha256: &[u8; 32], now: i64) -> Option<NodeState> {
        let listed = || {
            self.known
                .load()
                .line(&EkId::Spki(*ek_sha256))
                .is_some_and(|line| line.is_valid_at(now))
        };
        row.map(|row| row.state)
            .or_else(|| listed().then_some(NodeState::PreRegistered))
    }

    /// Replaces what the configuration says. The inventory's writer is to be held.
    fn configure(&self, trust: Trust) {
        self.configured.store(Arc::new(trust));
        let lines = self.known.load().lines().clone();
        self.follow(lines);
    }

    /// Replaces the revocation lists.
    pub async fn set_revocation(&self, revocation: Arc<Revocation>) {
        let _turn = self.writer.lock().await;
        let mut configured = Trust::clone(&self.configured.load());
        configured.revocation = revocation;
        self.configure(configured);
    }

    fn follow(&self, lines: BTreeMap<EkId, InventoryItem>) {
        self.known.store(Arc::new(Known::new(&self.configured.load(), lines)));
    }
}
