//! What many rows say alike, held once: a start reads hundreds of thousands of rows, each with copies of its own.

use std::{collections::HashSet, hash::Hash};

use hallmark_spiffe::{Selector, SelectorSet, SpiffeId, TrustDomain};
use hallmark_state::{Entry, Node};

/// The copies that rows share while they are read.
pub(super) struct Shared<'a> {
    trust_domain: &'a TrustDomain,
    ids: HashSet<SpiffeId>,
    selectors: HashSet<Selector>,
    sets: HashSet<SelectorSet>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(trust_domain: &'a TrustDomain) -> Self {
        Self {
            trust_domain,
            ids: HashSet::new(),
            selectors: HashSet::new(),
            sets: HashSet::new(),
        }
    }

    /// An id that other rows have too: nodes', and parents of entries.
    pub(super) fn id(&mut self, id: SpiffeId) -> SpiffeId {
        one(&mut self.ids, id.with_shared_name(self.trust_domain))
    }

    /// Most entries have an id of their own, below one of many nodes, with selectors that are the same on each.
    pub(super) fn entry(&mut self, entry: Entry) -> Entry {
        Entry {
            spiffe_id: entry.spiffe_id.with_shared_name(self.trust_domain),
            parent_id: self.id(entry.parent_id),
            selectors: one(&mut self.sets, entry.selectors),
            ..entry
        }
    }

    /// Each node has its own set of selectors, of which most are other nodes' too.
    pub(super) fn node(&mut self, node: Node) -> Node {
        let selectors = node.selectors.into_iter();
        Node {
            id: self.id(node.id),
            selectors: selectors.map(|it| one(&mut self.selectors, it)).collect(),
            ..node
        }
    }
}

fn one<T: Clone + Eq + Hash>(there: &mut HashSet<T>, value: T) -> T {
    if let Some(same) = there.get(&value) {
        return same.clone();
    }
    there.insert(value.clone());
    value
}
