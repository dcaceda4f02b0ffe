//! Entries for tests.

use std::collections::BTreeSet;

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{Entry, EntryDraft, EntryId};

pub(crate) const NOW: i64 = 1_795_392_000;

pub(crate) fn td() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&td(), path).unwrap()
}

pub(crate) fn eid(text: &str) -> EntryId {
    EntryId::parse(text).unwrap()
}

pub(crate) fn selectors(all: &[&str]) -> BTreeSet<Selector> {
    all.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

pub(crate) fn draft() -> EntryDraft {
    EntryDraft::new(
        id("/web"),
        id("/spire/agent/tpm2/aa"),
        selectors(&["unix:uid:1"]).into_iter().collect(),
    )
}

/// An entry without the rules: node aliases and chains of any shape.
pub(crate) fn entry(name: &str, path: &str, parent: &str, all: &[&str]) -> Entry {
    let mut entry = draft().validate(&td(), |_| true, eid(name), NOW).unwrap();
    entry.spiffe_id = id(path);
    entry.parent_id = id(parent);
    entry.selectors = selectors(all).into_iter().collect();
    entry
}
