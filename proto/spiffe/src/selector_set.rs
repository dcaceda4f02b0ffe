//! Sets of selectors, as they are kept.

use std::{collections::BTreeSet, fmt, slice, sync::Arc};

use crate::Selector;

/// Selectors in their order, each once. It takes no more memory than its selectors: a server keeps one for each entry, and
/// most have one selector, or two. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SelectorSet(Arc<[Selector]>);

impl SelectorSet {
    /// The selectors, in their order.
    pub fn iter(&self) -> slice::Iter<'_, Selector> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` has all of them.
    #[must_use]
    pub fn is_subset(&self, other: &BTreeSet<Selector>) -> bool {
        self.iter().all(|selector| other.contains(selector))
    }
}

impl FromIterator<Selector> for SelectorSet {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        let mut all: Vec<Selector> = selectors.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into())
    }
}

impl<const N: usize> From<[Selector; N]> for SelectorSet {
    fn from(selectors: [Selector; N]) -> Self {
        selectors.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a SelectorSet {
    type Item = &'a Selector;
    type IntoIter = slice::Iter<'a, Selector>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for SelectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> SelectorSet {
        texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
    }

    #[test]
    fn sets_are_equal_whatever_the_order_they_were_given_in() {
        let one = set(&["unix:uid:2", "unix:uid:1", "unix:uid:2"]);
        assert_eq!(one, set(&["unix:uid:1", "unix:uid:2"]));
        assert_ne!(one, set(&["unix:uid:1"]));
        assert_eq!(one.iter().map(Selector::value).collect::<Vec<_>>(), ["uid:1", "uid:2"]);
    }

    #[test]
    fn a_subset_has_nothing_beyond_the_other() {
        let of: BTreeSet<Selector> = set(&["unix:uid:1", "unix:gid:1"]).iter().cloned().collect();
        assert!(set(&["unix:uid:1"]).is_subset(&of) && SelectorSet::default().is_subset(&of));
        assert!(!set(&["unix:uid:1", "unix:uid:2"]).is_subset(&of));
    }
}
