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

#[cfg(test)]
mod tests {
    use hallmark_state::{EntryDraft, EntryId};

    use super::*;

    /// As a row is read: every text is its own.
    fn read(name: &str) -> Entry {
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let selectors = vec![Selector::parse("unix:uid:1").unwrap()];
        let draft = EntryDraft::new(id(&format!("/{name}")), id("/node"), selectors);
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let id = EntryId::parse(name).unwrap();
        draft.validate(&trust_domain, |_| true, id, 0).unwrap()
    }

    fn texts(entry: &Entry) -> [*const u8; 4] {
        [
            entry.parent_id.as_str().as_ptr(),
            entry.spiffe_id.trust_domain().as_str().as_ptr(),
            entry.parent_id.trust_domain().as_str().as_ptr(),
            entry.selectors.iter().next().unwrap().value().as_ptr(),
        ]
    }

    #[test]
    fn what_entries_say_alike_is_held_once() {
        let (one, other) = (read("one"), read("other"));
        let differ = |one: &Entry, other: &Entry| texts(one).iter().zip(texts(other)).all(|(a, b)| *a != b);
        assert!(differ(&one, &other), "the control");
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let mut shared = Shared::new(&trust_domain);
        let kept = [shared.entry(one.clone()), shared.entry(other.clone())];
        assert_eq!(kept, [one, other], "they say what they said");
        let [one, other] = &kept;
        assert_eq!(texts(one), texts(other));
        let name = trust_domain.as_str().as_ptr();
        assert_eq!(texts(other)[1..3], [name; 2]);
        assert_ne!(one.spiffe_id, other.spiffe_id);
    }

    #[test]
    fn an_id_of_another_trust_domain_keeps_its_name() {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let foreign = SpiffeId::parse("spiffe://other.test/node").unwrap();
        assert_eq!(
            Shared::new(&trust_domain).id(foreign.clone()).trust_domain(),
            foreign.trust_domain()
        );
    }
}
