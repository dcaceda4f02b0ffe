//! The state: all that a server answers from.

mod apply;
mod count;
mod snapshot;

pub use apply::Gap;
pub use count::NodeCounts;
pub use snapshot::{Configured, Snapshot};

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_policy::{PolicySet, signed::FileKind};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_verify::Trust;

use crate::{
    Action, AttestationState, Authority, AuthorityState, FirstRequest, ImageAssignment, InventorySnapshot, JwtKey,
    Links, Node, NodeState, PolicyFile, PublishedJwtKey, Registry, Undecodable, UpstreamBundle, node::node_id,
};

/// The rules in force.
#[derive(Debug, Clone)]
pub struct RulesInForce {
    /// The number of the record that put them in force; 0 before the first.
    pub revision: u64,
    /// All that machines are held against.
    pub set: Arc<PolicySet>,
    /// What tells them from others, over restarts: SHA-256.
    pub digest: [u8; 32],
}

/// What is in force and is not this server's: another one put it there, of its own configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unknown {
    rules: bool,
    trust: bool,
}

/// What every server of a trust domain knows, up to one record of the journal. Plain data with its indexes: it changes by
/// [`apply`](Self::apply) alone.
#[derive(Debug)]
pub struct State {
    revision: u64,
    entries: Registry,
    /// Entries that are in the store and grant nothing: why.
    left_out: BTreeMap<String, String>,
    nodes: BTreeMap<SpiffeId, Arc<Node>>,
    /// Nodes whose rows in the store do not read back, and which count as banned: why.
    damaged_nodes: BTreeMap<SpiffeId, String>,
    /// Nodes that have something to lose, by the rules that they were judged by.
    by_rules: BTreeSet<(u64, SpiffeId)>,
    /// The same, by the time at which their verdict goes stale.
    by_staleness: BTreeSet<(i64, SpiffeId)>,
    attestations: BTreeMap<SpiffeId, Arc<AttestationState>>,
    /// Nodes of which what the store keeps does not read back, until they prove something again.
    unreadable: BTreeMap<SpiffeId, Undecodable>,
    /// When the last of all quotes was seen, in milliseconds since the Unix epoch.
    latest_quote: u64,
    inventory: Arc<InventorySnapshot>,
    /// The number of the record that put the configuration's trust in force; of the state's making before the first.
    trust_revision: u64,
    links: Links,
    policy_files: BTreeMap<(FileKind, String), Arc<PolicyFile>>,
    rules: RulesInForce,
    unknown: Unknown,
    authorities: Vec<Arc<Authority>>,
    jwt_keys: Vec<Arc<JwtKey>>,
    published_jwt_keys: Vec<Arc<PublishedJwtKey>>,
    upstream: Arc<UpstreamBundle>,
    bundle_sequence: u64,
    requests: BTreeMap<(SpiffeId, Action), Vec<FirstRequest>>,
    image_assignments: BTreeMap<EkId, Arc<ImageAssignment>>,
}

impl State {
    /// The number of the last record that it knows of.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The trust domain.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        self.entries.trust_domain()
    }

    /// The entries.
    #[must_use]
    pub const fn entries(&self) -> &Registry {
        &self.entries
    }

    /// The entries that are in the store and grant nothing, by id, and why: what is stored does not read back, or breaks a
    /// rule. One that is written anew is no more among them.
    #[must_use]
    pub const fn left_out(&self) -> &BTreeMap<String, String> {
        &self.left_out
    }

    /// Nodes whose rows in the store do not read back, and why: each counts as banned. One of which an operator says where it
    /// stands is no more among them.
    #[must_use]
    pub const fn damaged_nodes(&self) -> &BTreeMap<SpiffeId, String> {
        &self.damaged_nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// The node of the machine with this EK.
    #[must_use]
    pub fn node_of_ek(&self, ek: &[u8; 32]) -> Option<&Arc<Node>> {
        self.node(&node_id(self.trust_domain(), ek)?)
    }

    /// Every node, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Nodes whose id is above `after`, by id.
    pub fn nodes_after<'a>(&'a self, after: Option<&SpiffeId>) -> impl Iterator<Item = &'a Arc<Node>> + use<'a> {
        let from = after.cloned().map_or(Unbounded, Excluded);
        self.nodes.range((from, Unbounded)).map(|(_, node)| node)
    }

    /// How far the evidence goes that is kept of a node.
    #[must_use]
    pub fn attestation(&self, node: &SpiffeId) -> Option<&Arc<AttestationState>> {
        self.attestations.get(node)
    }

    /// Why what the store keeps of a node's evidence does not read back; `None` where it does, or the node proved something since.
    #[must_use]
    pub fn unreadable(&self, node: &SpiffeId) -> Option<&Undecodable> {
        self.unreadable.get(node)
    }

    /// The nodes whose last quote was seen after `time`, in milliseconds since the Unix epoch. Where none was, it costs
    /// nothing.
    pub fn quotes_after(&self, time: u64) -> impl Iterator<Item = (&SpiffeId, &Arc<AttestationState>)> {
        let all = (self.latest_quote > time).then_some(&self.attestations);
        let all = all.into_iter().flatten();
        all.filter(move |(_, state)| state.quote_clock.seen_at > time)
    }

    /// The inventory, with what verification believes.
    #[must_use]
    pub const fn inventory(&self) -> &Arc<InventorySnapshot> {
        &self.inventory
    }

    /// Roots, revocation lists, and both inventories: the configuration's and the store's.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.inventory.trust()
    }

    /// The number of the record that put the configuration's trust in force.
    #[must_use]
    pub const fn trust_revision(&self) -> u64 {
        self.trust_revision
    }

    /// Which keys are one machine's.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// The other EKs that operators list with this one, in hex: what is denied to one is denied to all.
    #[must_use]
    pub fn listed_with(&self, ek: &[u8; 32]) -> BTreeSet<String> {
        self.links.listed_with(ek, &[]).iter().map(hex::encode).collect()
    }

    /// The ids of the other nodes that the machine with this EK could be.
    #[must_use]
    pub fn siblings(&self, ek: &[u8; 32]) -> Vec<SpiffeId> {
        let others = self.links.listed_with(ek, &[]);
        let ids = others.iter().filter_map(|other| node_id(self.trust_domain(), other));
        ids.collect()
    }

    /// Whether these two nodes are one machine, as operators say.
    #[must_use]
    pub fn are_one_machine(&self, one: &SpiffeId, other: &SpiffeId) -> bool {
        NodeId::ek_of(one)
            .zip(NodeId::ek_of(other))
            .is_some_and(|(one, other)| self.links.listed_with(&one, &[]).contains(&other))
    }

    /// The node of a line's machine, if there is one.
    #[must_use]
    pub fn node_of_line(&self, line: &InventoryItem) -> Option<&Arc<Node>> {
        let spki = |ek: EkId| self.links.ek_of_key(&ek);
        line.eks().filter_map(spki).find_map(|ek| self.node_of_ek(&ek))
    }

    /// Where a node stands: by its row, or without one by the inventory; `None` for one that nobody knows.
    #[must_use]
    pub fn standing(&self, node: Option<&Node>, ek: &[u8; 32], now: i64) -> Option<NodeState> {
        let line = || self.inventory.line(&EkId::Spki(*ek));
        let listed = || line().is_some_and(|line| line.is_valid_at(now));
        node.map(|node| node.state)
            .or_else(|| listed().then_some(NodeState::PreRegistered))
    }

    /// The rules in force.
    #[must_use]
    pub const fn rules(&self) -> &RulesInForce {
        &self.rules
    }

    /// What is in force that this server does not have: rules or trust that the journal names and that another server put in
    /// force. Until it has them it can judge nothing.
    #[must_use]
    pub const fn unknown(&self) -> Option<&'static str> {
        match self.unknown {
            Unknown { rules: true, .. } => Some("rules"),
            Unknown { trust: true, .. } => Some("trust"),
            _ => None,
        }
    }

    /// Nodes that were not judged by the rules in force, or whose verdict has gone stale by `now` (Unix seconds): at most
    /// `limit`.
    #[must_use]
    pub fn nodes_behind(&self, now: i64, limit: usize) -> Vec<SpiffeId> {
        let rules = self
            .by_rules
            .iter()
            .take_while(|(rules, _)| *rules < self.rules.revision);
        let stale = self.by_staleness.iter().take_while(|(stale, _)| *stale <= now);
        let ids = rules.map(|(_, id)| id).chain(stale.map(|(_, id)| id));
        let ids: BTreeSet<&SpiffeId> = ids.take(limit).collect();
        ids.into_iter().cloned().collect()
    }

    /// Whether a node was last judged by rules from before this revision.
    #[must_use]
    pub fn any_judged_before(&self, rules: u64) -> bool {
        self.by_rules.first().is_some_and(|(judged, _)| *judged < rules)
    }

    /// How many nodes were not judged by the rules in force.
    #[must_use]
    pub fn count_behind(&self) -> usize {
        let rules = self
            .by_rules
            .iter()
            .take_while(|(rules, _)| *rules < self.rules.revision);
        rules.count()
    }

    /// When the next verdict goes stale, in Unix seconds.
    #[must_use]
    pub fn next_stale(&self) -> Option<i64> {
        self.by_staleness.first().map(|(at, _)| *at)
    }

    /// Every policy and baseline that was ever applied, by kind and name.
    #[must_use]
    pub const fn policy_files(&self) -> &BTreeMap<(FileKind, String), Arc<PolicyFile>> {
        &self.policy_files
    }

    /// The trust domain's authorities, oldest first.
    #[must_use]
    pub fn authorities(&self) -> &[Arc<Authority>] {
        &self.authorities
    }

    /// The authority that signs.
    #[must_use]
    pub fn active_authority(&self) -> Option<&Arc<Authority>> {
        let mut authorities = self.authorities.iter();
        authorities.rfind(|authority| authority.state == AuthorityState::Active)
    }

    /// The keys that sign JWT-SVIDs, or did or will, oldest first.
    #[must_use]
    pub fn jwt_keys(&self) -> &[Arc<JwtKey>] {
        &self.jwt_keys
    }

    /// The keys that servers below this one sign JWT-SVIDs with, oldest first.
    #[must_use]
    pub fn published_jwt_keys(&self) -> &[Arc<PublishedJwtKey>] {
        &self.published_jwt_keys
    }

    /// What the authority above says of the trust domain; nothing where there is none.
    #[must_use]
    pub const fn upstream(&self) -> &Arc<UpstreamBundle> {
        &self.upstream
    }

    /// The bundle's sequence number; 0 before the first authority.
    #[must_use]
    pub const fn bundle_sequence(&self) -> u64 {
        self.bundle_sequence
    }

    /// What administrators over TLS asked for of a node, and a second one has to ask for as well.
    #[must_use]
    pub fn requests(&self, node: &SpiffeId, action: Action) -> &[FirstRequest] {
        self.requests.get(&(node.clone(), action)).map_or(&[], Vec::as_slice)
    }

    /// Every image that is assigned to a machine, by the endorsement key that the operator named.
    #[must_use]
    pub const fn image_assignments(&self) -> &BTreeMap<EkId, Arc<ImageAssignment>> {
        &self.image_assignments
    }

    /// The image that is assigned to the machine of this key, by whichever of its keys. Of several, which there are where keys
    /// were found to be one machine's later, the last counts.
    #[must_use]
    pub fn image_assignment_of(&self, key: &EkId) -> Option<&Arc<ImageAssignment>> {
        self.image_assignments_of(key).max_by_key(|it| it.attempt)
    }

    /// All of them. Where nothing is assigned to anybody, it costs nothing.
    pub(crate) fn image_assignments_of(&self, key: &EkId) -> impl Iterator<Item = &Arc<ImageAssignment>> {
        let keys = (!self.image_assignments.is_empty()).then(|| self.links.keys_of_machine(key));
        let keys = keys.into_iter().flatten();
        keys.filter_map(|key| self.image_assignments.get(&key))
    }

    /// The actions of which requests wait, of a node.
    pub(crate) fn requested(&self, node: &SpiffeId) -> impl Iterator<Item = Action> {
        let of = |action| self.requests.contains_key(&(node.clone(), action));
        Action::ALL.into_iter().filter(move |action| of(*action))
    }
}
