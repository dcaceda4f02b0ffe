//! The entries as they will be: the registry, with what is staged over it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use hallmark_spiffe::{Selector, SpiffeId};

use crate::{Entry, EntryId, Registry};

/// What becomes of an entry that is staged: `None` is deletion.
pub(super) type After = Option<Arc<Entry>>;

/// Staged entries.
#[derive(Debug, Default)]
pub(super) struct EntryOverlay {
    after: HashMap<EntryId, After>,
    /// Ids that were staged below a parent, or for a SPIFFE ID, at some time.
    by_parent: HashMap<SpiffeId, BTreeSet<EntryId>>,
    by_spiffe_id: HashMap<SpiffeId, BTreeSet<EntryId>>,
}

impl EntryOverlay {
    /// What is staged of an entry.
    pub(super) fn get(&self, id: &EntryId) -> Option<&After> {
        self.after.get(id)
    }

    /// Stages an entry as it will be; gives what was staged before.
    pub(super) fn put(&mut self, entry: &Arc<Entry>) -> Option<After> {
        let (parent, id) = (entry.parent_id.clone(), entry.spiffe_id.clone());
        self.by_parent.entry(parent).or_default().insert(entry.id.clone());
        self.by_spiffe_id.entry(id).or_default().insert(entry.id.clone());
        self.after.insert(entry.id.clone(), Some(Arc::clone(entry)))
    }

    /// Stages a deletion.
    pub(super) fn delete(&mut self, id: &EntryId) {
        self.after.insert(id.clone(), None);
    }

    /// What was staged before [`put`](Self::put) is staged again.
    pub(super) fn restore(&mut self, id: &EntryId, before: Option<After>) {
        match before {
            Some(after) => self.after.insert(id.clone(), after),
            None => self.after.remove(id),
        };
    }

    /// The entries directly below a parent.
    pub(super) fn children<'a>(
        &'a self,
        registry: &'a Registry,
        parent: &'a SpiffeId,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let staged = self.staged(&self.by_parent, parent);
        let staged = staged.filter(move |entry| entry.parent_id == *parent);
        self.not_staged(registry.children(parent)).chain(staged)
    }

    /// The entries that give a SPIFFE ID.
    pub(super) fn holders<'a>(
        &'a self,
        registry: &'a Registry,
        id: &'a SpiffeId,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let staged = self.staged(&self.by_spiffe_id, id);
        let staged = staged.filter(move |entry| entry.spiffe_id == *id);
        self.not_staged(registry.of_id(id)).chain(staged)
    }

    /// The aliases of a node with these selectors.
    pub(super) fn aliases_of<'a>(
        &'a self,
        registry: &'a Registry,
        selectors: &'a BTreeSet<Selector>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let staged = self.staged(&self.by_parent, registry.server());
        let staged = staged.filter(|entry| registry.is_alias(entry) && entry.selectors.is_subset(selectors));
        self.not_staged(registry.all_aliases_of(selectors)).chain(staged)
    }

    /// This id, and the parents above it.
    pub(super) fn above<'a>(&'a self, registry: &'a Registry, id: &'a SpiffeId) -> HashSet<&'a SpiffeId> {
        let (mut open, mut found) = (vec![id], HashSet::from([id]));
        while let Some(id) = open.pop() {
            for entry in self.holders(registry, id) {
                if found.insert(&entry.parent_id) {
                    open.push(&entry.parent_id);
                }
            }
        }
        found
    }

    fn staged<'a>(
        &'a self,
        index: &'a HashMap<SpiffeId, BTreeSet<EntryId>>,
        key: &SpiffeId,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let ids = index.get(key).into_iter().flatten();
        ids.filter_map(|id| self.after.get(id)?.as_ref())
    }

    fn not_staged<'a>(&'a self, entries: impl Iterator<Item = &'a Arc<Entry>>) -> impl Iterator<Item = &'a Arc<Entry>> {
        entries.filter(|entry| !self.after.contains_key(&entry.id))
    }
}
