//! What an import changes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{EkId, InventoryItem};

/// The difference between the inventory and a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Lines that are new.
    pub added: Vec<InventoryItem>,
    /// Lines that say something else than before.
    pub changed: Vec<InventoryItem>,
    /// Lines that stay as they are.
    pub unchanged: Vec<EkId>,
    /// Lines that go: the file replaces the inventory and does not have them, or their EKs stand in another line now.
    pub removed: Vec<EkId>,
}

impl Plan {
    /// Holds `new` against what is there; with `replace`, what is not in `new` goes.
    #[must_use]
    pub fn of<L: Borrow<InventoryItem>>(present: &BTreeMap<EkId, L>, new: Vec<InventoryItem>, replace: bool) -> Self {
        let mut plan = Self::default();
        let keys: BTreeSet<EkId> = new.iter().map(|line| line.ek).collect();
        let named: BTreeSet<EkId> = new.iter().flat_map(InventoryItem::eks).collect();
        for line in new {
            match present.get(&line.ek).map(Borrow::borrow) {
                None => plan.added.push(line),
                Some(same) if *same == line => plan.unchanged.push(line.ek),
                Some(_) => plan.changed.push(line),
            }
        }
        let goes =
            |line: &&InventoryItem| !keys.contains(&line.ek) && (replace || line.eks().any(|ek| named.contains(&ek)));
        plan.removed = present
            .values()
            .map(Borrow::borrow)
            .filter(goes)
            .map(|line| line.ek)
            .collect();
        plan
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}
