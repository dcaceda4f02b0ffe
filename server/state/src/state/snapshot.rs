//! The state as the store has it: rows.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_policy::PolicySet;
use hallmark_spiffe::TrustDomain;
use hallmark_verify::Trust;

use super::{RulesInForce, State};
use crate::{
    Action, Appraised, AttestationState, Authority, DamagedNode, Entry, FirstRequest, HeldEvidence, ImageAssignment,
    InventorySnapshot, JwtKey, LeftOutEntry, Links, Node, PolicyFile, PublishedJwtKey, Registry, Total, TpmName,
    UpstreamBundle,
};
use hallmark_spiffe::SpiffeId;

/// Every row of the state at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last record in it.
    pub revision: u64,
    /// Every entry, in the order of creation (then by id).
    pub entries: Vec<Arc<Entry>>,
    /// Entries that are in the store and grant nothing.
    pub left_out: Vec<LeftOutEntry>,
    /// Every node, by id.
    pub nodes: Vec<Arc<Node>>,
    /// Those of them whose rows do not read back.
    pub damaged_nodes: Vec<DamagedNode>,
    /// Every line of the inventory, by EK.
    pub inventory: Vec<InventoryItem>,
    /// Every Name that a TPM proved.
    pub tpm_names: Vec<TpmName>,
    /// The EKs of each machine of which operators list several.
    pub machine_eks: Vec<BTreeSet<EkId>>,
    /// Every authority, oldest first.
    pub authorities: Vec<Authority>,
    /// Every key that signs JWT-SVIDs, oldest first.
    pub jwt_keys: Vec<JwtKey>,
    /// Every key that a server below this one published, oldest first.
    pub published_jwt_keys: Vec<PublishedJwtKey>,
    /// What the authority above says of the trust domain.
    pub upstream: UpstreamBundle,
    /// How far each node's evidence goes, by node.
    pub held: Vec<HeldEvidence>,
    /// Every policy and baseline that was ever applied, by kind and name.
    pub policy_files: Vec<PolicyFile>,
    /// What administrators asked for and a second one has to ask for as well.
    pub requests: Vec<(SpiffeId, Action, Vec<FirstRequest>)>,
    /// Every image that is assigned to a machine.
    pub image_assignments: Vec<ImageAssignment>,
    /// The bundle's sequence number; 0 before the first authority.
    pub bundle_sequence: u64,
    /// The number of the record that put the rules in force; 0 before the first.
    pub rules_revision: u64,
    /// What tells these rules from others.
    pub rules_digest: [u8; 32],
    /// Counts of events.
    pub totals: Vec<Total>,
    /// How many SVID intents were found without an outcome when the store was opened.
    pub interrupted: u64,
}

/// What one server adds to what the store has.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Trust anchors, the configured file's inventory, revocation lists.
    pub trust: Arc<Trust>,
    /// The rules in force, made of the configuration's and the stored ones.
    pub set: Arc<PolicySet>,
}

impl State {
    /// The state of a trust domain, as the store has it. A node whose evidence does not read back has not been judged by any
    /// rules in force: it gets nothing signed until it proves something again.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain, snapshot: Snapshot, configured: Configured) -> Self {
        let links = links(&snapshot);
        let mut entries = Registry::new(trust_domain);
        for entry in snapshot.entries {
            entries.insert(entry);
        }
        let left_out = snapshot.left_out.into_iter().map(|it| (it.id, it.reason));
        let damaged = snapshot.damaged_nodes.into_iter().map(|it| (it.id, it.reason));
        let lines = snapshot.inventory.into_iter().map(|line| (line.ek, Arc::new(line)));
        let mut state = Self {
            revision: snapshot.revision,
            entries,
            left_out: left_out.collect(),
            nodes: std::collections::BTreeMap::new(),
            damaged_nodes: damaged.collect(),
            by_rules: BTreeSet::new(),
            by_staleness: BTreeSet::new(),
            attestations: std::collections::BTreeMap::new(),
            unreadable: std::collections::BTreeMap::new(),
            latest_quote: 0,
            inventory: Arc::new(InventorySnapshot::new(&configured.trust, lines.collect())),
            trust_revision: snapshot.revision,
            links,
            policy_files: std::collections::BTreeMap::new(),
            rules: RulesInForce {
                revision: snapshot.rules_revision,
                set: configured.set,
                digest: snapshot.rules_digest,
            },
            unknown: super::Unknown::default(),
            authorities: snapshot.authorities.into_iter().map(Arc::new).collect(),
            jwt_keys: snapshot.jwt_keys.into_iter().map(Arc::new).collect(),
            upstream: Arc::new(snapshot.upstream),
            published_jwt_keys: snapshot.published_jwt_keys.into_iter().map(Arc::new).collect(),
            bundle_sequence: snapshot.bundle_sequence,
            requests: std::collections::BTreeMap::new(),
            image_assignments: std::collections::BTreeMap::new(),
        };
        for node in snapshot.nodes {
            state.put_node(node);
        }
        for row in snapshot.held {
            match AttestationState::read(&row) {
                Ok(held) => {
                    state.latest_quote = state.latest_quote.max(held.quote_clock.seen_at);
                    state.attestations.insert(row.node, Arc::new(held));
                }
                Err(error) => {
                    state.put_appraised(&row.node, Appraised::default());
                    state.unreadable.insert(row.node, error);
                }
            }
        }
        for file in snapshot.policy_files {
            state.put_policy_file(&Arc::new(file));
        }
        for (node, action, requests) in snapshot.requests {
            state.requests.insert((node, action), requests);
        }
        for it in snapshot.image_assignments {
            state.image_assignments.insert(it.ek, Arc::new(it));
        }
        state
    }

    /// What of this state differs from another one's: names of its parts. A server's memory and a state made anew of its
    /// store differ in nothing.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let entries = |state: &Self| {
            let all = state.entries.list(&crate::Filter::default(), 0, None).entries;
            all.into_iter().cloned().collect::<Vec<_>>()
        };
        let lines = |state: &Self| state.inventory.lines().clone();
        let names = |state: &Self| state.links.names();
        let parts = [
            ("revision", self.revision == other.revision),
            (
                "entries",
                entries(self) == entries(other) && self.left_out == other.left_out,
            ),
            (
                "nodes",
                self.nodes == other.nodes && self.damaged_nodes == other.damaged_nodes,
            ),
            (
                "judged nodes",
                self.by_rules == other.by_rules && self.by_staleness == other.by_staleness,
            ),
            (
                "attestations",
                self.attestations == other.attestations && self.unreadable == other.unreadable,
            ),
            ("inventory", lines(self) == lines(other)),
            ("names of TPMs", names(self) == names(other)),
            ("machines", self.links.machines() == other.links.machines()),
            ("policy files", self.policy_files == other.policy_files),
            (
                "rules",
                self.rules.revision == other.rules.revision && self.rules.digest == other.rules.digest,
            ),
            ("authorities", self.authorities == other.authorities),
            ("JWT keys", self.jwt_keys == other.jwt_keys),
            (
                "published JWT keys",
                self.published_jwt_keys == other.published_jwt_keys,
            ),
            ("upstream", self.upstream == other.upstream),
            ("bundle", self.bundle_sequence == other.bundle_sequence),
            ("requests", self.requests == other.requests),
            ("image assignments", self.image_assignments == other.image_assignments),
        ];
        let differing = parts.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(name, _)| name).collect()
    }
}

/// What the store knows of the keys of machines.
fn links(snapshot: &Snapshot) -> Links {
    let names = snapshot.tpm_names.iter().map(|it| (it.name.clone(), it.ek_sha256));
    Links::new(names, snapshot.machine_eks.iter().cloned())
}
