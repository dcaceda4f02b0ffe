//! What the journal says of each row of the state: the last record that put or removed it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hallmark_node::EkId;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Appraised, AttestationState, Authority, Change, Entry, FirstRequest, ImageAssignment, JwtKey, Node, PolicyFile,
    PublishedJwtKey, Record, UpstreamBundle,
    journal::{encoding, sha256},
};

use super::{json, role_svid_row};
use crate::StoreError;

/// A row of a table, or a part of one that is put by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) table: &'static str,
    pub(super) key: String,
    /// Empty for the row itself.
    pub(super) part: &'static str,
}

impl Place {
    pub(super) fn new(table: &'static str, key: impl ToString) -> Self {
        Self::part(table, key, "")
    }

    pub(super) fn part(table: &'static str, key: impl ToString, part: &'static str) -> Self {
        let key = key.to_string();
        Self { table, key, part }
    }

    /// The row of a certificate of an authority.
    pub(super) fn of_authority(certificate: &[u8]) -> Self {
        Self::new("authority_certificates", json::hex(&sha256(certificate)))
    }
}

/// What the last record about a row says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) revision: u64,
    /// SHA-256 of the content; `None` where the row was removed.
    pub(super) content: Option<[u8; 32]>,
}

/// What is in a row, as a digest: the same for what the journal and what the table has.
pub(super) mod content {
    use super::{
        Appraised, Arc, AttestationState, Authority, BTreeSet, Change, EkId, Entry, FirstRequest, ImageAssignment,
        JwtKey, Node, PolicyFile, PublishedJwtKey, SpiffeId, UpstreamBundle, encoding, sha256,
    };

    fn of(change: &Change) -> [u8; 32] {
        sha256(&encoding::change_bytes(change))
    }

    pub(in super::super) fn entry(entry: Arc<Entry>) -> [u8; 32] {
        of(&Change::PutEntry { entry, replaces: None })
    }

    /// Of a node without by what it was judged.
    pub(in super::super) fn node(node: &Node) -> [u8; 32] {
        let appraised = Appraised::default();
        of(&Change::PutNode(Arc::new(Node {
            appraised,
            ..node.clone()
        })))
    }

    pub(in super::super) fn verdict(node: &SpiffeId, appraised: Appraised) -> [u8; 32] {
        let node = node.clone();
        of(&Change::PutAppraised { node, appraised })
    }

    pub(in super::super) fn line(line: Arc<hallmark_node::InventoryItem>) -> [u8; 32] {
        of(&Change::PutInventoryLine(line))
    }

    pub(in super::super) fn evidence(node: &SpiffeId, state: Arc<AttestationState>) -> [u8; 32] {
        let node = node.clone();
        of(&Change::PutEvidence {
            node,
            state,
            facts_sha256: None,
            drops_logs: false,
            body: None,
        })
    }

    pub(in super::super) fn tpm_name(name: &hallmark_state::TpmName) -> [u8; 32] {
        of(&Change::PutTpmName(name.clone()))
    }

    pub(in super::super) fn machine(eks: &BTreeSet<EkId>) -> [u8; 32] {
        of(&Change::PutMachineEks(eks.clone()))
    }

    pub(in super::super) fn policy_file(file: Arc<PolicyFile>) -> [u8; 32] {
        of(&Change::PutPolicyFile(file))
    }

    pub(in super::super) fn authority(authority: Arc<Authority>) -> [u8; 32] {
        of(&Change::PutAuthority(authority))
    }

    pub(in super::super) fn jwt_key(key: Arc<JwtKey>) -> [u8; 32] {
        of(&Change::PutJwtKey(key))
    }

    pub(in super::super) fn published_jwt_key(key: Arc<PublishedJwtKey>) -> [u8; 32] {
        of(&Change::PutPublishedJwtKey(key))
    }

    pub(in super::super) fn upstream(upstream: Arc<UpstreamBundle>) -> [u8; 32] {
        of(&Change::PutUpstream(upstream))
    }

    pub(in super::super) fn requests(
        node: &SpiffeId,
        action: hallmark_state::Action,
        requests: &[FirstRequest],
    ) -> [u8; 32] {
        of(&Change::PutRequests {
            node: node.clone(),
            action,
            requests: requests.to_vec(),
        })
    }

    pub(in super::super) fn image_assignment(it: Arc<ImageAssignment>) -> [u8; 32] {
        of(&Change::PutImageAssignment(it))
    }

    pub(in super::super) fn role_svid(serial: u128, agent: &SpiffeId, issued_at: i64, expires_at: i64) -> [u8; 32] {
        of(&Change::PutRoleSvid {
            serial,
            agent: agent.clone(),
            issued_at,
            expires_at,
        })
    }
}

/// Takes in records in their order; of each row it keeps a digest, not the content.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) rows: BTreeMap<Place, Said>,
    /// Whether the journal has the changes of all records.
    is_whole: bool,
    machines: BTreeMap<EkId, BTreeSet<EkId>>,
    role_svids: BTreeSet<(i64, String)>,
}

impl Fold {
    /// Of a journal that has the changes of all records, or not.
    pub(super) fn of(is_whole: bool) -> Self {
        Self {
            is_whole,
            ..Self::default()
        }
    }

    /// Takes in the record that comes next.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] for a change of a kind that this store does not keep.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), StoreError> {
        let changes = record.transaction.changes.iter();
        changes
            .into_iter()
            .try_for_each(|change| self.take_one(record.revision, change))
    }

    fn take_one(&mut self, revision: u64, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutEntry { entry, .. } => {
                self.put(
                    revision,
                    Place::new("entries", &entry.id),
                    content::entry(Arc::clone(entry)),
                );
            }
            Change::DeleteEntry(entry) => self.remove(revision, Place::new("entries", &entry.id)),
            Change::PutNode(node) => {
                self.put(revision, Place::new("agents", &node.id), content::node(node));
                let verdict = content::verdict(&node.id, node.appraised);
                self.put(revision, Place::part("agents", &node.id, "verdict"), verdict);
            }
            Change::DeleteNode(id) => {
                self.remove(revision, Place::new("agents", id));
                self.remove(revision, Place::part("agents", id, "verdict"));
            }
            Change::PutAppraised { node, appraised } => {
                let verdict = content::verdict(node, *appraised);
                self.put(revision, Place::part("agents", node, "verdict"), verdict);
            }
            Change::PutInventoryLine(line) => {
                self.put(
                    revision,
                    Place::new("inventory", line.ek),
                    content::line(Arc::clone(line)),
                );
            }
            Change::DeleteInventoryLine(line) => self.remove(revision, Place::new("inventory", line.ek)),
            Change::PutEvidence {
                node,
                state,
                facts_sha256,
                drops_logs,
                ..
            } => {
                let state = Arc::new(state.as_ref().clone().at_revision(revision));
                let file = Place::part("evidence", node, "file");
                match state.evidence_sha256 {
                    Some(sha256) => self.put(revision, file, sha256),
                    None => drop(self.rows.remove(&file)),
                }
                self.take_facts(revision, node, *facts_sha256, *drops_logs);
                self.put(revision, Place::new("evidence", node), content::evidence(node, state));
            }
            Change::PutQuoteTime { node, state } => {
                let said = content::evidence(node, Arc::clone(state));
                self.put(revision, Place::new("evidence", node), said);
            }
            Change::PutFacts { node, sha256, .. } => {
                self.put(revision, Place::part("evidence", node, "facts"), *sha256);
            }
            other => return self.take_other(revision, other),
        }
        Ok(())
    }

    fn take_other(&mut self, revision: u64, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutEkCertificate { ek_sha256, sha256, .. } => {
                self.put(revision, Place::new("ek_certificates", json::hex(ek_sha256)), *sha256);
            }
            Change::PutTpmName(name) => {
                self.put(revision, Place::new("tpm_names", &name.name), content::tpm_name(name));
            }
            Change::PutMachineEks(eks) => self.take_machine(revision, eks),
            Change::PutPolicyFile(file) => {
                let place = Place::new("policy_files", format_args!("{} {}", file.kind, file.name));
                self.put(revision, place, content::policy_file(Arc::clone(file)));
            }
            Change::PutRules { manifest, .. } => {
                let said = format!("{revision} {}", json::hex(&manifest.digest()));
                self.put(revision, Place::new("meta", "rules"), sha256(said.as_bytes()));
            }
            Change::PutBundleSequence(sequence) => {
                let said = sha256(sequence.to_string().as_bytes());
                self.put(revision, Place::new("meta", "bundle_sequence"), said);
            }
            Change::PutAuthority(authority) => {
                let place = Place::of_authority(&authority.certificate);
                self.put(revision, place, content::authority(Arc::clone(authority)));
            }
            Change::PutJwtKey(key) => {
                let place = Place::new("jwt_keys", &key.key_id);
                self.put(revision, place, content::jwt_key(Arc::clone(key)));
            }
            Change::DeleteJwtKey { key_id } => self.remove(revision, Place::new("jwt_keys", key_id)),
            Change::PutUpstream(it) => {
                let said = content::upstream(Arc::clone(it));
                self.put(revision, Place::new("upstream_bundle", 1), said);
            }
            Change::PutPublishedJwtKey(key) => {
                let place = Place::new("published_jwt_keys", &key.key_id);
                self.put(revision, place, content::published_jwt_key(Arc::clone(key)));
            }
            Change::DeletePublishedJwtKey { key_id } => self.remove(revision, Place::new("published_jwt_keys", key_id)),
            Change::DeleteAuthority { certificate } => self.remove(revision, Place::of_authority(certificate)),
            Change::PutRequests { node, action, requests } => {
                let place = Place::new("admin_requests", format_args!("{node} {}", action.as_str()));
                match requests.is_empty() {
                    true => self.remove(revision, place),
                    false => self.put(revision, place, content::requests(node, *action, requests)),
                }
            }
            Change::PutRoleSvid {
                serial,
                agent,
                issued_at,
                expires_at,
            } => {
                // What the store forgets with it.
                let kept = (role_svid_row::kept_from(*issued_at), String::new());
                let later = self.role_svids.split_off(&kept);
                for (_, serial) in std::mem::replace(&mut self.role_svids, later) {
                    self.remove(revision, Place::new("role_svids", serial));
                }
                let key = format!("{serial:032x}");
                self.role_svids.insert((*expires_at, key.clone()));
                let said = content::role_svid(*serial, agent, *issued_at, *expires_at);
                self.put(revision, Place::new("role_svids", key), said);
            }
            Change::PutImageAssignment(it) => {
                let said = content::image_assignment(Arc::clone(it));
                self.put(revision, Place::new("image_assignments", it.ek), said);
            }
            Change::DeleteImageAssignment(ek) => self.remove(revision, Place::new("image_assignments", ek)),
            // Of the configuration the journal's row has what it is made of, and the tables nothing.
            Change::PutTrust { .. } => {}
            other => {
                return Err(StoreError::Unknown {
                    what: format!("{other:?}").chars().take(40).collect(),
                });
            }
        }
        Ok(())
    }

    /// Facts that came with evidence. With the logs of another boot, those of that boot become the earlier ones.
    fn take_facts(&mut self, revision: u64, node: &SpiffeId, facts_sha256: Option<[u8; 32]>, drops_logs: bool) {
        let part = |part| Place::part("evidence", node, part);
        let before = self.rows.get(&part("facts")).and_then(|said| said.content);
        let is_first = self.is_whole && !self.rows.contains_key(&Place::new("evidence", node));
        if drops_logs || is_first {
            match before.or_else(|| is_first.then(|| sha256(b""))) {
                Some(content) => self.put(revision, part("earlier"), content),
                None => drop(self.rows.remove(&part("earlier"))),
            }
        }
        match facts_sha256 {
            Some(sha256) => self.put(revision, part("facts"), sha256),
            None => drop(self.rows.remove(&part("facts"))),
        }
    }

    /// A row that is not compared, since nobody knows what is to be in it.
    pub(super) fn forget(&mut self, table: &'static str, key: &str) {
        self.rows.retain(|place, _| place.table != table || place.key != key);
    }

    /// What stood with one of these before and is not named stands alone.
    fn take_machine(&mut self, revision: u64, eks: &BTreeSet<EkId>) {
        for ek in eks {
            for other in self.machines.get(ek).cloned().unwrap_or_default() {
                self.machines.remove(&other);
                self.remove(revision, Place::new("machine_eks", other));
            }
            self.remove(revision, Place::new("machine_eks", ek));
        }
        if eks.len() > 1 {
            for ek in eks {
                self.machines.insert(*ek, eks.clone());
                self.put(revision, Place::new("machine_eks", ek), content::machine(eks));
            }
        }
    }

    fn put(&mut self, revision: u64, place: Place, content: [u8; 32]) {
        let content = Some(content);
        self.rows.insert(place, Said { revision, content });
    }

    fn remove(&mut self, revision: u64, place: Place) {
        let content = None;
        self.rows.insert(place, Said { revision, content });
    }
}
