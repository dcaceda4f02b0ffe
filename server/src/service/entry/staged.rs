//! Changes of entries on their way: checked, not yet durable, not yet visible.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hallmark_registry::{Entry, EntryId, Registry};
use hallmark_spiffe::{Selector, SpiffeId};
use hallmark_store::{Change, Outcome, Record, RecordKind};
use tonic::Status;

use crate::{errors::store_failed, state::Server};

/// What two entries that say the same share.
type Likeness = (SpiffeId, SpiffeId, BTreeSet<Selector>);

/// The changes of one request, over the registry as it is: later items see what earlier ones stage.
pub(super) struct Staged<'a> {
    by: &'a str,
    at: i64,
    /// What becomes of an entry: `None` is deletion.
    after: HashMap<EntryId, Option<Arc<Entry>>>,
    likeness: HashMap<Likeness, EntryId>,
    changes: Vec<Change>,
}

impl<'a> Staged<'a> {
    /// Nothing yet; `by` is named in the records, `at` is in Unix seconds.
    pub(super) fn new(by: &'a str, at: i64) -> Self {
        Self {
            by,
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
        self.record("entry-created", &entry);
        self.put(entry)
    }

    pub(super) fn update(&mut self, before: &Entry, entry: Entry) -> Arc<Entry> {
        self.likeness.remove(&likeness(before));
        self.changes.push(Change::UpdateEntry(Box::new(entry.clone())));
        self.record("entry-updated", &entry);
        self.put(entry)
    }

    pub(super) fn delete(&mut self, before: &Entry) {
        self.likeness.remove(&likeness(before));
        self.changes.push(Change::DeleteEntry(before.id.clone()));
        self.record("entry-deleted", before);
        self.after.insert(before.id.clone(), None);
    }

    fn put(&mut self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.likeness.insert(likeness(&entry), entry.id.clone());
        self.after.insert(entry.id.clone(), Some(Arc::clone(&entry)));
        entry
    }

    fn record(&mut self, act: &str, entry: &Entry) {
        let detail = serde_json::json!({
            "act": act,
            "by": self.by,
            "spiffe_id": entry.spiffe_id.as_str(),
            "parent_id": entry.parent_id.as_str(),
            "revision": entry.revision,
        });
        self.changes.push(Change::Record(Record {
            at: self.at,
            kind: RecordKind::Admin,
            subject: entry.id.as_str().to_owned(),
            outcome: Outcome::Done,
            code: String::new(),
            detail: detail.to_string(),
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
    use hallmark_registry::EntryDraft;
    use hallmark_spiffe::TrustDomain;

    fn entry(id: &str, path: &str) -> Entry {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let spiffe_id = |path| SpiffeId::new(&trust_domain, path).unwrap();
        let selectors = vec![Selector::parse("unix:uid:0").unwrap()];
        EntryDraft::new(spiffe_id(path), spiffe_id("/node"), selectors)
            .validate(&trust_domain, |_| false, EntryId::parse(id).unwrap(), 0)
            .unwrap()
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
        let mut staged = Staged::new("local", 0);
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
        let mut staged = Staged::new("local", 0);
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
        let mut staged = Staged::new("local", 7);
        staged.create(entry("new", "/b"));
        let [Change::CreateEntry(_), Change::Record(record)] = &*staged.changes else {
            panic!("{:?}", staged.changes);
        };
        assert_eq!((record.subject.as_str(), record.at), ("new", 7));
        assert!(record.detail.contains(r#""act":"entry-created""#));
    }
}
