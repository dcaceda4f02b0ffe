//! EKs that the operator enrolled one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hallmark_node::{EkId, InventoryItem};
use hallmark_tpm_wire::templates::EK_TEMPLATES;
use hallmark_tpm_wire::{HashAlg, Name, PublicArea};

/// The Names that an inventory may know an EK by. A Name is over more than the key, and the rest of it is the machine's
/// word; so they are those that the profile's templates give the key, beside the one that it shows.
pub(crate) fn names_of(ek: &PublicArea) -> BTreeSet<Name> {
    let templates = EK_TEMPLATES.iter().filter_map(|it| ek.as_made_with(&it.template));
    let names = std::iter::once(ek.name()).chain(templates.map(|area| area.name()));
    names.filter(|name| name.hash_alg() == HashAlg::Sha256).collect()
}

/// The item of an EK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryMatch {
    /// By which id the inventory names the EK.
    pub id: EkId,
    /// What it says.
    pub item: Arc<InventoryItem>,
    /// Whether the item has expired. Then it lets nobody in, and its labels still say which rules are for the machine.
    pub expired: bool,
}

/// All EKs that are enrolled one by one.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    items: BTreeMap<EkId, Arc<InventoryItem>>,
}

impl Inventory {
    /// Adds a machine under each of its EKs. An EK that is there already keeps its item.
    pub fn add(&mut self, item: Arc<InventoryItem>) {
        for ek in item.eks() {
            self.items.entry(ek).or_insert_with(|| Arc::clone(&item));
        }
    }

    /// The item of exactly this EK.
    #[must_use]
    pub fn find(&self, id: &EkId) -> Option<&InventoryItem> {
        self.items.get(id).map(Arc::as_ref)
    }

    /// The item of an EK: by its SPKI, else by one of its Names (see [`names_of`]).
    pub(crate) fn find_ek(&self, spki: [u8; 32], ek: &PublicArea, now: SystemTime) -> Option<InventoryMatch> {
        let names = names_of(ek);
        let mut ids = std::iter::once(EkId::Spki(spki)).chain(names.iter().filter_map(EkId::of_name));
        ids.find_map(|id| {
            let item = Arc::clone(self.items.get(&id)?);
            let expired = !item.is_valid_at(unix_seconds(now));
            Some(InventoryMatch { id, item, expired })
        })
    }

    /// Every machine, by the EK under which its item stands.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<InventoryItem>> {
        let own = self.items.iter().filter(|(id, item)| **id == item.ek);
        own.map(|(_, item)| item)
    }

    /// The EKs of each machine of which several are listed.
    pub fn machines(&self) -> impl Iterator<Item = BTreeSet<EkId>> {
        let several = self.iter().filter(|item| !item.other_eks.is_empty());
        several.map(|item| item.eks().collect())
    }

    /// How many EKs are enrolled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl FromIterator<InventoryItem> for Inventory {
    fn from_iter<I: IntoIterator<Item = InventoryItem>>(items: I) -> Self {
        let mut inventory = Self::default();
        items.into_iter().for_each(|item| inventory.add(Arc::new(item)));
        inventory
    }
}

/// A time before 1970 counts as 1970.
fn unix_seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attack_12_a_name_is_never_taken_for_an_spki_hash() {
        let (name, spki) = (EkId::Name([7; 32]), EkId::Spki([7; 32]));
        let inventory: Inventory = [InventoryItem::new(name)].into_iter().collect();
        assert!(inventory.find(&name).is_some());
        assert!(inventory.find(&spki).is_none());
    }

    #[test]
    fn the_first_item_of_an_ek_stays_and_each_machine_is_told_once() {
        let (a, b, c) = (EkId::Spki([1; 32]), EkId::Spki([2; 32]), EkId::Spki([3; 32]));
        let item = |owner: &str, ek, others: &[EkId]| InventoryItem {
            owner: owner.to_owned(),
            other_eks: others.iter().copied().collect(),
            ..InventoryItem::new(ek)
        };
        let items = [item("first", a, &[b]), item("second", b, &[]), item("third", c, &[])];
        let inventory: Inventory = items.into_iter().collect();
        let owner = |id| inventory.find(&id).unwrap().owner.as_str();
        assert_eq!([owner(a), owner(b), owner(c)], ["first", "first", "third"]);
        assert_eq!(inventory.iter().count(), 2);
        assert_eq!(inventory.machines().collect::<Vec<_>>(), [[a, b].into()]);
    }

    #[test]
    fn an_item_counts_until_it_expires() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let item = InventoryItem {
            expires: Some(100),
            ..InventoryItem::new(EkId::Spki([1; 32]))
        };
        assert!(item.is_valid_at(unix_seconds(at(99) + Duration::from_millis(999))));
        assert!(!item.is_valid_at(unix_seconds(at(100))));
    }
}
