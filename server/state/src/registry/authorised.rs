//! Which entries a node may serve.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hallmark_spiffe::{Selector, SpiffeId};

use super::{Places, Registry};
use crate::{Entry, EntryId};

impl Registry {
    /// Every entry that hangs, step by step over its parents, below the agent's id or below one of the
    /// node's aliases; oldest first. An alias is an entry whose parent is the server's own id and whose
    /// selectors are all among the node's. Expired entries, and what hangs below them alone, are left out.
    ///
    /// The cost grows with what the node may serve, not with the number of entries.
    #[must_use]
    pub fn authorised(&self, agent: &SpiffeId, node_selectors: &BTreeSet<Selector>, now: i64) -> Vec<&Arc<Entry>> {
        let mut parents = vec![agent];
        parents.extend(self.aliases_of(node_selectors, now).map(|alias| &alias.spiffe_id));
        let mut seen: HashSet<&SpiffeId> = parents.iter().copied().collect();
        let mut found: Vec<&Arc<Entry>> = Vec::new();
        while let Some(parent) = parents.pop() {
            for entry in self.children(parent).filter(|entry| !entry.is_expired(now)) {
                found.push(entry);
                if seen.insert(&entry.spiffe_id) {
                    parents.push(&entry.spiffe_id);
                }
            }
        }
        // Each parent is visited once and each entry has one parent, so nothing is found twice.
        found.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        found
    }

    /// Whether [`Registry::authorised`] would have this entry, found by going up instead of down.
    #[must_use]
    pub fn is_authorised(
        &self,
        entry: &Entry,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        now: i64,
    ) -> bool {
        self.reaches(entry, agent, node_selectors, |it| !it.is_expired(now))
    }

    /// The entries that lead from the agent to this one, itself first; `None` where it is not the agent's.
    #[must_use]
    pub fn way_to(
        &self,
        entry: &Entry,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        now: i64,
    ) -> Option<Vec<EntryId>> {
        self.way(entry, agent, node_selectors, |it| !it.is_expired(now))
    }

    /// Whether there is a way over entries that `counts`.
    pub(super) fn reaches(
        &self,
        entry: &Entry,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        counts: impl Fn(&Entry) -> bool,
    ) -> bool {
        self.way(entry, agent, node_selectors, counts).is_some()
    }

    fn way(
        &self,
        entry: &Entry,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        counts: impl Fn(&Entry) -> bool,
    ) -> Option<Vec<EntryId>> {
        if !counts(entry) {
            return None;
        }
        // Each step up: the parent's id, the entry whose parent it is, and the step before.
        let mut steps: Vec<(&SpiffeId, &EntryId, Option<usize>)> = vec![(&entry.parent_id, &entry.id, None)];
        let mut seen: HashSet<&SpiffeId> = HashSet::from([&entry.parent_id]);
        let mut at = 0;
        while let Some((id, _, _)) = steps.get(at).copied() {
            if id == agent {
                return Some(way_back(&steps, at, None));
            }
            for holder in self.of_id(id).filter(|holder| counts(holder)) {
                if self.is_alias_of(holder, node_selectors) {
                    return Some(way_back(&steps, at, Some(&holder.id)));
                }
                if seen.insert(&holder.parent_id) {
                    steps.push((&holder.parent_id, &holder.id, Some(at)));
                }
            }
            at += 1;
        }
        None
    }

    fn aliases_of<'a>(
        &'a self,
        node_selectors: &'a BTreeSet<Selector>,
        now: i64,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.all_aliases_of(node_selectors)
            .filter(move |alias| !alias.is_expired(now))
    }

    /// The aliases of a node with these selectors, those with them that have expired.
    pub(crate) fn all_aliases_of<'a>(
        &'a self,
        node_selectors: &'a BTreeSet<Selector>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        node_selectors
            .iter()
            .filter_map(|selector| self.aliases.get(selector))
            .flat_map(Places::iter)
            .filter(|alias| self.is_alias_of(alias, node_selectors))
    }

    fn is_alias_of(&self, entry: &Entry, node_selectors: &BTreeSet<Selector>) -> bool {
        self.is_alias(entry) && entry.selectors.is_subset(node_selectors)
    }
}

/// The entries of the steps that lead to the step `at`, and of `last`.
fn way_back(steps: &[(&SpiffeId, &EntryId, Option<usize>)], at: usize, last: Option<&EntryId>) -> Vec<EntryId> {
    let mut way: Vec<EntryId> = last.into_iter().cloned().collect();
    let mut next = Some(at);
    while let Some((_, entry, before)) = next.and_then(|at| steps.get(at)) {
        way.push(EntryId::clone(entry));
        next = *before;
    }
    way
}
