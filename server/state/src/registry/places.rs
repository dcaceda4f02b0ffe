//! Entries that share something, in their order.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    hash::{Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use hallmark_spiffe::SpiffeId;

use crate::{Entry, query::Place};

/// What has a place in the stable order.
pub(super) trait InOrder {
    fn place(&self) -> Place<'_>;
}

impl InOrder for Entry {
    fn place(&self) -> Place<'_> {
        (self.created_at, self.id.as_str())
    }
}

impl InOrder for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

/// An entry, ordered by its place.
#[derive(Debug)]
pub(super) struct Placed(Arc<Entry>);

impl<'a> Borrow<dyn InOrder + 'a> for Placed {
    fn borrow(&self) -> &(dyn InOrder + 'a) {
        &*self.0
    }
}

impl Ord for dyn InOrder + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for dyn InOrder + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn InOrder + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn InOrder + '_ {}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.place().cmp(&other.0.place())
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.0.place() == other.0.place()
    }
}

impl Eq for Placed {}

/// Entries in their order. Most SPIFFE IDs are one entry's: a single entry takes no memory of its own.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "there is one of these for each SPIFFE ID, and few are of several entries"
)]
pub(super) enum Places {
    One(Placed),
    Many(Box<BTreeSet<Placed>>),
}

impl Places {
    pub(super) fn none() -> Self {
        Self::Many(Box::default())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(places) => places.len(),
        }
    }

    pub(super) fn insert(&mut self, entry: &Arc<Entry>) {
        let placed = Placed(Arc::clone(entry));
        match self {
            Self::One(there) if *there == placed => *there = placed,
            Self::One(there) => *self = Self::Many(Box::new([Placed(Arc::clone(&there.0)), placed].into())),
            Self::Many(places) => drop(places.replace(placed)),
        }
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        match self {
            Self::One(there) if there.0.place() == entry.place() => *self = Self::none(),
            Self::One(_) => {}
            Self::Many(places) => drop(places.remove::<dyn InOrder>(entry)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.after(None)
    }

    /// Those behind `start`, or all.
    pub(super) fn after(&self, start: Option<Place<'_>>) -> impl Iterator<Item = &Arc<Entry>> {
        let (one, many) = match self {
            Self::One(placed) => (
                Some(placed).filter(|placed| start.is_none_or(|start| placed.0.place() > start)),
                None,
            ),
            Self::Many(places) => {
                let start: Bound<&dyn InOrder> = match &start {
                    Some(start) => Bound::Excluded(start),
                    None => Bound::Unbounded,
                };
                (None, Some(places.range::<dyn InOrder, _>((start, Bound::Unbounded))))
            }
        };
        one.into_iter()
            .chain(many.into_iter().flatten())
            .map(|placed| &placed.0)
    }
}

/// An entry as what its own id is looked up by.
#[derive(Debug)]
pub(super) struct ById(pub(super) Arc<Entry>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id.as_str()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.as_str().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

/// An entry as what the entries with its SPIFFE ID are looked up by: a server holds hundreds of thousands, and this takes a
/// quarter of the id. It stays until none of them is left, also where it is itself no more among them.
#[derive(Debug)]
pub(super) struct BySpiffeId(pub(super) Arc<Entry>);

impl Borrow<SpiffeId> for BySpiffeId {
    fn borrow(&self) -> &SpiffeId {
        &self.0.spiffe_id
    }
}

impl Hash for BySpiffeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.spiffe_id.hash(state);
    }
}

impl PartialEq for BySpiffeId {
    fn eq(&self, other: &Self) -> bool {
        self.0.spiffe_id == other.0.spiffe_id
    }
}

impl Eq for BySpiffeId {}

/// Files an entry under a key.
pub(super) fn file<K: Hash + Eq>(index: &mut HashMap<K, Places>, key: K, entry: &Arc<Entry>) {
    index
        .entry(key)
        .and_modify(|places| places.insert(entry))
        .or_insert_with(|| Places::One(Placed(Arc::clone(entry))));
}

/// Takes an entry from under a key.
pub(super) fn forget<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq>(index: &mut HashMap<K, Places>, key: &Q, entry: &Entry) {
    if let Some(places) = index.get_mut(key) {
        places.remove(entry);
        if places.len() == 0 {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryDraft, EntryId};
    use hallmark_spiffe::{Selector, TrustDomain};

    fn entry(number: i64) -> Arc<Entry> {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let id = |path| SpiffeId::new(&trust_domain, path).unwrap();
        let selectors = vec![Selector::new("unix", "uid:0").unwrap()];
        let draft = EntryDraft::new(id("/web"), id("/node"), selectors);
        let name = EntryId::parse(&format!("entry-{number}")).unwrap();
        Arc::new(draft.validate(&trust_domain, |_| true, name, number).unwrap())
    }

    #[test]
    fn entries_keep_their_order_however_many_there_are() {
        let mut index = HashMap::new();
        let found = |index: &HashMap<&str, Places>, start: Option<i64>| -> Vec<i64> {
            let start = start.map(entry);
            let start = start.as_ref().map(|start| start.place());
            let places = index.get("key").into_iter();
            places
                .flat_map(|places| places.after(start).map(|entry| entry.created_at))
                .collect()
        };
        for number in [3, 3, 1, 2] {
            file(&mut index, "key", &entry(number));
            let last = found(&index, Some(2));
            assert_eq!(last, [3], "after {number}");
        }
        assert_eq!((found(&index, None), found(&index, Some(3))), (vec![1, 2, 3], vec![]));
        for (gone, left) in [(9, vec![1, 2, 3]), (1, vec![2, 3]), (3, vec![2]), (2, vec![])] {
            forget(&mut index, &"key", &entry(gone));
            assert_eq!(found(&index, None), left, "without {gone}");
        }
        assert!(index.is_empty());
    }

    #[test]
    fn the_last_of_one_place_stays() {
        for numbers in [vec![1], vec![1, 2]] {
            let mut index = HashMap::new();
            for number in &numbers {
                file(&mut index, 7, &entry(*number));
            }
            let again = entry(1);
            file(&mut index, 7, &again);
            let places = index.get(&7).unwrap();
            assert!(places.iter().any(|one| Arc::ptr_eq(one, &again)));
            assert_eq!(places.len(), numbers.len());
        }
    }

    #[test]
    fn an_entry_alone_is_found_and_forgotten() {
        let mut index = HashMap::new();
        file(&mut index, 7, &entry(1));
        forget(&mut index, &7, &entry(2));
        assert_eq!(index.get(&7).map(Places::len), Some(1));
        let behind = index.get(&7).map(|places| places.after(Some(entry(1).place())).count());
        assert_eq!(behind, Some(0));
        forget(&mut index, &7, &entry(1));
        assert!(index.is_empty());
    }
}
