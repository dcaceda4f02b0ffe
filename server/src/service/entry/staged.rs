//! Changes of entries on their way: checked, not yet durable, not yet visible.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hallmark_spiffe::{Selector, SpiffeId};
use hallmark_state::{Entry, EntryId, Registry};
use hallmark_store::{Change, Outcome, Record, RecordKind};
use tonic::Status;

use crate::{caller::Act, errors::store_failed, state::Server};

/// What two entries that say the same share.
type Likeness = (SpiffeId, SpiffeId, BTreeSet<Selector>);

/// The changes of one request, over the registry as it is: later items see what earlier ones stage.
pub(super) struct Staged<'a> {
    act: &'a Act,
    at: i64,
    /// What becomes of an entry: `None` is deletion.
    after: HashMap<EntryId, Option<Arc<Entry>>>,
    likeness: HashMap<Likeness, EntryId>,
    changes: Vec<Change>,
}

impl<'a> Staged<'a> {
    /// Nothing yet; `act` is named in the records, `at` is in Unix seconds.
    pub(super) fn new(act: &'a Act, at: i64) -> Self {
        Self {
            act,
            at,
            after: HashMap::new(),
            likeness: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// The entry as it will be.
    pub(super) fn entry(&self, registry: &Registry, id: &EntryId) -> Option<Arc<Entry>> {
        match self.after.get(id) {
            Some(after) => after.clone(),
            None => registry.entry(id).cloned(),
        }
    }

    /// The other entry that will say the same as `entry`.
    pub(super) fn similar(&self, registry: &Registry, entry: &Entry) -> Option<Arc<Entry>> {
        let staged = self.likeness.get(&likeness(entry)).filter(|id| **id != entry.id);
        if let Some(Some(staged)) = staged.and_then(|id| self.after.get(id)) {
            return Some(Arc::clone(staged));
        }
        // What is staged for an entry counts, not what the registry still has.
        registry
            .similar(entry)
            .filter(|other| !self.after.contains_key(&other.id))
            .cloned()
    }

    pub(super) fn create(&mut self, entry: Entry) -> Arc<Entry> {
        self.changes.push(Change::CreateEntry(Box::new(entry.clone())));
        self.record("entry-created", &entry, None);
        self.put(entry)
    }

    pub(super) fn update(&mut self, before: &Entry, entry: Entry) -> Arc<Entry> {
        self.likeness.remove(&likeness(before));
        self.changes.push(Change::UpdateEntry(Box::new(entry.clone())));
        self.record("entry-updated", &entry, Some(before));
        self.put(entry)
    }

    pub(super) fn delete(&mut self, before: &Entry) {
        self.likeness.remove(&likeness(before));
        self.changes.push(Change::DeleteEntry(before.id.clone()));
        self.record("entry-deleted", before, None);
        self.after.insert(before.id.clone(), None);
    }

    fn put(&mut self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.likeness.insert(likeness(&entry), entry.id.clone());
        self.after.insert(entry.id.clone(), Some(Arc::clone(&entry)));
        entry
    }

    fn record(&mut self, act: &str, entry: &Entry, before: Option<&Entry>) {
        let mut detail = told(entry);
        detail.insert("act".to_owned(), act.into());
        detail.insert("by".to_owned(), self.act.by.as_str().into());
        detail.insert("reason".to_owned(), self.act.reason.as_str().into());
        // What an update replaced stays to be read.
        if let Some(before) = before {
            let mut before = told(before);
            before.retain(|field, value| detail.get(field) != Some(value));
            detail.insert("before".to_owned(), before.into());
        }
        self.changes.push(Change::Record(Record {
            at: self.at,
            kind: RecordKind::Admin,
            subject: entry.id.as_str().to_owned(),
            outcome: Outcome::Done,
            code: String::new(),
            detail: serde_json::Value::Object(detail).to_string(),
        }));
    }

    /// Makes everything staged durable, then visible. The caller holds [`Server::entry_writer`].
    ///
    /// # Errors
    /// When the store does not take it; then nothing was changed.
    pub(super) async fn commit(self, server: &Server) -> Result<(), Status> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let told = |error| Status::internal(store_failed(&error).message());
        server.store.commit(self.changes).await.map_err(told)?;
        let mut registry = server.registry_mut();
        for (id, after) in self.after {
            match after {
                Some(entry) => drop(registry.insert(Arc::unwrap_or_clone(entry))),
                None => drop(registry.remove(&id)),
            }
        }
        Ok(())
    }
}

/// What an entry gives, to whom: as it is recorded. Fields that say nothing are left out.
fn told(entry: &Entry) -> serde_json::Map<String, serde_json::Value> {
    let list = |items: Vec<String>| serde_json::Value::from(items);
    let seconds = |time: std::time::Duration| serde_json::Value::from(time.as_secs());
    let selectors = entry.selectors.iter().map(ToString::to_string).collect();
    let federates_with = entry.federates_with.iter().map(ToString::to_string).collect();
    let fields = [
        ("spiffe_id", entry.spiffe_id.as_str().into()),
        ("parent_id", entry.parent_id.as_str().into()),
        ("selectors", list(selectors)),
        ("revision", entry.revision.into()),
        ("x509_svid_ttl", seconds(entry.x509_svid_ttl)),
        ("jwt_svid_ttl", seconds(entry.jwt_svid_ttl)),
        ("federates_with", list(federates_with)),
        ("dns_names", list(entry.dns_names.clone())),
        ("admin", entry.admin.into()),
        ("downstream", entry.downstream.into()),
        ("store_svid", entry.store_svid.into()),
        ("expires_at", entry.expires_at.into()),
        ("hint", entry.hint.as_str().into()),
    ];
    let says = |value: &serde_json::Value| match value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => false,
        serde_json::Value::String(text) => !text.is_empty(),
        serde_json::Value::Array(items) => !items.is_empty(),
        serde_json::Value::Number(number) => number.as_u64() != Some(0),
        _ => true,
    };
    fields
        .into_iter()
        .filter(|(name, value)| *name == "revision" || says(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn likeness(entry: &Entry) -> Likeness {
    (
        entry.spiffe_id.clone(),
        entry.parent_id.clone(),
        entry.selectors.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_spiffe::TrustDomain;
    use hallmark_state::EntryDraft;

    fn entry(id: &str, path: &str) -> Entry {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let spiffe_id = |path| SpiffeId::new(&trust_domain, path).unwrap();
        let selectors = vec![Selector::parse("unix:uid:0").unwrap()];
        EntryDraft::new(spiffe_id(path), spiffe_id("/node"), selectors)
            .validate(&trust_domain, |_| false, EntryId::parse(id).unwrap(), 0)
            .unwrap()
    }

    fn act() -> Act {
        Act {
            by: "uid:1000".into(),
            reason: "change 4711".into(),
        }
    }

    fn registry(entries: &[Entry]) -> Registry {
        let mut registry = Registry::new(&TrustDomain::parse("example.org").unwrap());
        entries.iter().cloned().for_each(|entry| drop(registry.insert(entry)));
        registry
    }

    fn similar(staged: &Staged<'_>, registry: &Registry, entry: &Entry) -> Option<String> {
        staged.similar(registry, entry).map(|other| other.id.to_string())
    }

    #[test]
    fn later_items_see_what_earlier_ones_stage() {
        let registry = registry(&[entry("old", "/a")]);
        let act = act();
        let mut staged = Staged::new(&act, 0);
        assert_eq!(similar(&staged, &registry, &entry("x", "/a")).as_deref(), Some("old"));
        assert_eq!(similar(&staged, &registry, &entry("x", "/b")), None);
        staged.create(entry("new", "/b"));
        assert_eq!(similar(&staged, &registry, &entry("x", "/b")).as_deref(), Some("new"));
        assert_eq!(
            similar(&staged, &registry, &entry("new", "/b")),
            None,
            "an entry is not like itself"
        );
    }

    #[test]
    fn what_an_item_gives_up_is_free_for_the_next() {
        let (a, b) = (entry("a", "/a"), entry("b", "/b"));
        let registry = registry(&[a.clone(), b.clone()]);
        let act = act();
        let mut staged = Staged::new(&act, 0);
        staged.update(
            &a,
            Entry {
                spiffe_id: entry("x", "/c").spiffe_id,
                ..a.clone()
            },
        );
        assert_eq!(similar(&staged, &registry, &entry("x", "/a")), None);
        assert_eq!(similar(&staged, &registry, &entry("x", "/c")).as_deref(), Some("a"));
        staged.delete(&b);
        assert_eq!(similar(&staged, &registry, &entry("x", "/b")), None);
        assert!(staged.entry(&registry, &b.id).is_none());
        let moved = staged.entry(&registry, &a.id).unwrap();
        staged.delete(&moved);
        assert_eq!(similar(&staged, &registry, &entry("x", "/c")), None);
    }

    #[test]
    fn every_change_is_recorded_beside_it() {
        let act = act();
        let mut staged = Staged::new(&act, 7);
        staged.create(entry("new", "/b"));
        let [Change::CreateEntry(_), Change::Record(record)] = &*staged.changes else {
            panic!("{:?}", staged.changes);
        };
        assert_eq!((record.subject.as_str(), record.at), ("new", 7));
        let detail: serde_json::Value = serde_json::from_str(&record.detail).unwrap();
        let expected = serde_json::json!({
            "act": "entry-created", "by": "uid:1000", "reason": "change 4711", "revision": 0,
            "spiffe_id": "spiffe://example.org/b", "parent_id": "spiffe://example.org/node", "selectors": ["unix:uid:0"],
        });
        assert_eq!(detail, expected);
    }

    #[test]
    fn an_update_is_recorded_with_what_it_replaced() {
        let (before, act) = (entry("a", "/a"), act());
        let mut staged = Staged::new(&act, 7);
        let after = Entry {
            selectors: [Selector::parse("unix:uid:1").unwrap()].into(),
            admin: true,
            revision: 1,
            ..before.clone()
        };
        staged.update(&before, after);
        let [Change::UpdateEntry(_), Change::Record(record)] = &*staged.changes else {
            panic!("{:?}", staged.changes);
        };
        let detail: serde_json::Value = serde_json::from_str(&record.detail).unwrap();
        assert_eq!(detail["selectors"], serde_json::json!(["unix:uid:1"]));
        assert_eq!(detail["admin"], true);
        assert_eq!(
            detail["before"],
            serde_json::json!({"selectors": ["unix:uid:0"], "revision": 0})
        );
    }
}
