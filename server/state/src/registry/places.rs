//! The places of entries that share something.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    ops::Bound,
};

use crate::query::Place;

/// Places in their order. Most ids are one entry's: a single place takes no memory of its own.
#[derive(Debug)]
pub(super) enum Places {
    One(Place),
    Many(BTreeSet<Place>),
}

impl Places {
    pub(super) const fn none() -> Self {
        Self::Many(BTreeSet::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(places) => places.len(),
        }
    }

    pub(super) fn insert(&mut self, place: Place) {
        match self {
            Self::One(there) if *there == place => {}
            Self::One(there) => *self = Self::Many(BTreeSet::from([there.clone(), place])),
            Self::Many(places) => drop(places.insert(place)),
        }
    }

    pub(super) fn remove(&mut self, place: &Place) {
        match self {
            Self::One(there) if there == place => *self = Self::none(),
            Self::One(_) => {}
            Self::Many(places) => drop(places.remove(place)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.after(None)
    }

    /// Those behind `start`, or all.
    pub(super) fn after(&self, start: Option<&Place>) -> impl Iterator<Item = &Place> {
        let (one, many) = match self {
            Self::One(place) => (
                Some(place).filter(|place| start.is_none_or(|start| *place > start)),
                None,
            ),
            Self::Many(places) => {
                let start = start.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(places.range::<Place, _>((start, Bound::Unbounded))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// Files a place under a key.
pub(super) fn file<K: Hash + Eq>(index: &mut HashMap<K, Places>, key: K, place: &Place) {
    index
        .entry(key)
        .and_modify(|places| places.insert(place.clone()))
        .or_insert_with(|| Places::One(place.clone()));
}

/// Takes a place from under a key.
pub(super) fn forget<K: Hash + Eq>(index: &mut HashMap<K, Places>, key: &K, place: &Place) {
    if let Some(places) = index.get_mut(key) {
        places.remove(place);
        if places.len() == 0 {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;

    fn place(number: i64) -> Place {
        (number, EntryId::parse(&format!("entry-{number}")).unwrap())
    }

    #[test]
    fn places_keep_their_order_however_many_there_are() {
        let mut index = HashMap::new();
        let found = |index: &HashMap<&str, Places>, start: Option<i64>| -> Vec<i64> {
            let start = start.map(place);
            let places = index.get("key").into_iter();
            places
                .flat_map(|places| places.after(start.as_ref()).map(|place| place.0))
                .collect()
        };
        for number in [3, 3, 1, 2] {
            file(&mut index, "key", &place(number));
            let last = found(&index, Some(2));
            assert_eq!(last, [3], "after {number}");
        }
        assert_eq!((found(&index, None), found(&index, Some(3))), (vec![1, 2, 3], vec![]));
        for (gone, left) in [(9, vec![1, 2, 3]), (1, vec![2, 3]), (3, vec![2]), (2, vec![])] {
            forget(&mut index, &"key", &place(gone));
            assert_eq!(found(&index, None), left);
        }
        assert!(index.is_empty());
    }

    #[test]
    fn a_place_alone_is_found_and_forgotten() {
        let mut index = HashMap::new();
        file(&mut index, 7, &place(1));
        forget(&mut index, &7, &place(2));
        assert_eq!(index.get(&7).map(Places::len), Some(1));
        assert_eq!(
            index.get(&7).map(|places| places.after(Some(&place(1))).count()),
            Some(0)
        );
        forget(&mut index, &7, &place(1));
        assert!(index.is_empty());
    }
}
