//! The one way in which the state changes.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_policy::signed::FileKind;
use hallmark_spiffe::SpiffeId;
use hallmark_verify::Trust;

use super::{RulesInForce, State};
use crate::{Appraised, Change, InventorySnapshot, JwtKey, Node, NodeState, PolicyFile, PublishedJwtKey, Record};

/// A record of the journal is not the one that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The number that comes next.
    pub expected: u64,
    /// The number of the record that came.
    pub found: u64,
}

impl State {
    /// Takes in the next record of the journal that it follows.
    ///
    /// # Errors
    /// [`Gap`] where it is another one: a record is missing, or the journal is no longer the one that was followed. Then
    /// nothing was taken in.
    pub fn follow(&mut self, record: &Record) -> Result<(), Gap> {
        let expected = self.revision.saturating_add(1);
        if record.revision != expected {
            let found = record.revision;
            return Err(Gap { expected, found });
        }
        self.apply(record);
        Ok(())
    }

    /// Takes in the record that follows the last one: whoever made it.
    pub fn apply(&mut self, record: &Record) {
        let mut inventory = InventoryChanges::default();
        for change in &record.transaction.changes {
            self.apply_one(record.revision, change, &mut inventory);
        }
        if let Some(changed) = inventory.over(&self.inventory) {
            self.inventory = Arc::new(changed);
        }
        self.revision = record.revision;
    }

    fn apply_one(&mut self, revision: u64, change: &Change, inventory: &mut InventoryChanges) {
        match change {
            Change::PutEntry { entry, .. } => {
                self.left_out.remove(entry.id.as_str());
                self.entries.insert(Arc::clone(entry));
            }
            Change::DeleteEntry(entry) => drop(self.entries.remove(&entry.id)),
            Change::PutNode(node) => {
                self.damaged_nodes.remove(&node.id);
                self.put_node(Arc::clone(node));
            }
            Change::DeleteNode(id) => {
                self.damaged_nodes.remove(id);
                self.remove_node(id);
            }
            Change::PutAppraised { node, appraised } => self.put_appraised(node, *appraised),
            Change::PutInventoryLine(line) => inventory.put(line),
            Change::DeleteInventoryLine(line) => inventory.remove(&line.ek),
            Change::PutEvidence { node, state, .. } => {
                let state = state.as_ref().clone().at_revision(revision);
                self.latest_quote = self.latest_quote.max(state.quote_clock.seen_at);
                self.unreadable.remove(node);
                self.attestations.insert(node.clone(), Arc::new(state));
            }
            Change::PutQuoteTime { node, state } => {
                self.attestations.insert(node.clone(), Arc::clone(state));
                let seen = self.attestations.values().map(|state| state.quote_clock.seen_at);
                self.latest_quote = seen.max().unwrap_or_default();
            }
            Change::PutTpmName(name) => self.links.put_name(name.name.clone(), name.ek_sha256),
            Change::PutMachineEks(eks) => self.links.list(eks.clone()),
            Change::PutPolicyFile(file) => self.put_policy_file(file),
            Change::PutRules { set, manifest } => {
                let digest = manifest.digest();
                self.unknown.rules = set.is_none() && (self.unknown.rules || self.rules.digest != digest);
                self.rules = RulesInForce {
                    revision,
                    set: set.as_ref().map_or_else(|| Arc::clone(&self.rules.set), Arc::clone),
                    digest,
                };
            }
            Change::PutTrust { trust, .. } => {
                self.unknown.trust = trust.is_none();
                if let Some(trust) = trust {
                    inventory.configured = Some(Arc::clone(trust));
                }
                self.trust_revision = revision;
            }
            Change::PutAuthority(authority) => {
                let is_same = |it: &&mut Arc<crate::Authority>| it.certificate == authority.certificate;
                match self.authorities.iter_mut().find(is_same) {
                    Some(there) => *there = Arc::clone(authority),
                    None => self.authorities.push(Arc::clone(authority)),
                }
                self.authorities.sort_by(|a, b| {
                    let place = |it: &crate::Authority| (it.created_at, it.label.clone(), it.certificate.clone());
                    place(a).cmp(&place(b))
                });
            }
            Change::DeleteAuthority { certificate } => self.authorities.retain(|it| it.certificate != *certificate),
            Change::PutJwtKey(key) => self.put_jwt_key(key),
            Change::DeleteJwtKey { key_id } => self.jwt_keys.retain(|it| it.key_id != *key_id),
            Change::PutPublishedJwtKey(key) => self.put_published_jwt_key(key),
            Change::DeletePublishedJwtKey { key_id } => self.published_jwt_keys.retain(|it| it.key_id != *key_id),
            Change::PutUpstream(upstream) => self.upstream = Arc::clone(upstream),
            Change::PutBundleSequence(sequence) => self.bundle_sequence = *sequence,
            Change::PutRequests { node, action, requests } => {
                let place = (node.clone(), *action);
                if requests.is_empty() {
                    self.requests.remove(&place);
                } else {
                    self.requests.insert(place, requests.clone());
                }
            }
            Change::PutImageAssignment(it) => drop(self.image_assignments.insert(it.ek, Arc::clone(it))),
            Change::DeleteImageAssignment(ek) => drop(self.image_assignments.remove(ek)),
            // Bodies and look-ups that stay in the store.
            Change::PutFacts { .. } | Change::PutEkCertificate { .. } | Change::PutRoleSvid { .. } => {}
        }
    }

    pub(super) fn put_node(&mut self, node: Arc<Node>) {
        self.remove_node(&node.id);
        if has_something_to_lose(&node) {
            self.by_rules.insert((node.appraised.rules, node.id.clone()));
            if let Some(stale) = node.appraised.stale_at {
                self.by_staleness.insert((stale, node.id.clone()));
            }
        }
        self.nodes.insert(node.id.clone(), node);
    }

    pub(super) fn put_appraised(&mut self, node: &SpiffeId, appraised: Appraised) {
        if let Some(node) = self.nodes.get(node) {
            self.put_node(Arc::new(Node {
                appraised,
                ..Node::clone(node)
            }));
        }
    }

    fn remove_node(&mut self, id: &SpiffeId) {
        let Some(node) = self.nodes.remove(id) else { return };
        self.by_rules.remove(&(node.appraised.rules, node.id.clone()));
        if let Some(stale) = node.appraised.stale_at {
            self.by_staleness.remove(&(stale, node.id.clone()));
        }
    }

    fn put_jwt_key(&mut self, key: &Arc<JwtKey>) {
        self.jwt_keys.retain(|it| it.key_id != key.key_id);
        self.jwt_keys.push(Arc::clone(key));
        self.jwt_keys
            .sort_by(|a, b| (a.created_at, &a.key_id).cmp(&(b.created_at, &b.key_id)));
    }

    fn put_published_jwt_key(&mut self, key: &Arc<PublishedJwtKey>) {
        self.published_jwt_keys.retain(|it| it.key_id != key.key_id);
        self.published_jwt_keys.push(Arc::clone(key));
        self.published_jwt_keys
            .sort_by(|a, b| (a.published_at, &a.key_id).cmp(&(b.published_at, &b.key_id)));
    }

    pub(super) fn put_policy_file(&mut self, file: &Arc<PolicyFile>) {
        // What is of no known kind was refused before it came here.
        if let Some(kind) = FileKind::from_name(&file.kind) {
            self.policy_files.insert((kind, file.name.clone()), Arc::clone(file));
        }
    }
}

/// Who is out for good, or until an operator acts, is judged when it comes back.
const fn has_something_to_lose(node: &Node) -> bool {
    !matches!(node.state, NodeState::Banned | NodeState::Retired)
}

/// What one record changes in the inventory: it is built anew once.
#[derive(Default)]
struct InventoryChanges {
    configured: Option<Arc<Trust>>,
    lines: BTreeMap<EkId, Option<Arc<InventoryItem>>>,
}

impl InventoryChanges {
    fn put(&mut self, line: &Arc<InventoryItem>) {
        self.lines.insert(line.ek, Some(Arc::clone(line)));
    }

    fn remove(&mut self, ek: &EkId) {
        self.lines.insert(*ek, None);
    }

    fn over(self, before: &InventorySnapshot) -> Option<InventorySnapshot> {
        if self.lines.is_empty() && self.configured.is_none() {
            return None;
        }
        let mut lines = before.lines().clone();
        for (ek, line) in self.lines {
            match line {
                Some(line) => lines.insert(ek, line),
                None => lines.remove(&ek),
            };
        }
        let configured = self.configured.as_ref().unwrap_or_else(|| before.configured());
        Some(InventorySnapshot::new(configured, lines))
    }
}
