//! The inventory: which machines are the operator's, and what they say of them.

mod error;
mod read;

pub use error::{InventoryError, InventoryFault};
pub use read::{Form, read_inventory};

use std::collections::{BTreeMap, BTreeSet};

use crate::{EkId, Maker, Model, TpmClass};

/// One machine of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryItem {
    /// Its TPM's endorsement key, under which the item stands.
    pub ek: EkId,
    /// Further endorsement keys of the same TPM. The machine attests with one of them, and is one node whichever that is.
    pub other_eks: BTreeSet<EkId>,
    /// Its serial number; may be empty.
    pub serial: String,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// Labels by name; they become node selectors.
    pub labels: BTreeMap<String, String>,
    /// From when on the item no longer counts, in Unix seconds; `None` is never.
    pub expires: Option<i64>,
    /// The class of its TPM in the operator's words, for one that shows no certificate; never `Unknown`.
    pub class: Option<TpmClass>,
    /// Its TPM's manufacturer, as an EK certificate would name it.
    pub manufacturer: Option<Maker>,
    /// Its TPM's model, as an EK certificate would name it.
    pub model: Option<Model>,
}

impl InventoryItem {
    /// Most bytes of a serial number, an owner, a label's value, a manufacturer or a model.
    pub const MAX_TEXT: usize = 255;
    /// Most bytes of a label's name.
    pub const MAX_LABEL_NAME: usize = 63;
    /// Most labels of a machine.
    pub const MAX_LABELS: usize = 32;
    /// Most endorsement keys of a machine.
    pub const MAX_EKS: usize = 16;

    /// An item that says nothing but that the EK is the operator's.
    #[must_use]
    pub const fn new(ek: EkId) -> Self {
        Self {
            ek,
            other_eks: BTreeSet::new(),
            serial: String::new(),
            owner: String::new(),
            labels: BTreeMap::new(),
            expires: None,
            class: None,
            manufacturer: None,
            model: None,
        }
    }

    /// Every endorsement key of the machine, the item's own first.
    pub fn eks(&self) -> impl Iterator<Item = EkId> {
        std::iter::once(self.ek).chain(self.other_eks.iter().copied())
    }

    /// Whether the item counts at `now`, in Unix seconds.
    #[must_use]
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// What becomes selectors of the type `inventory`: the labels, and the owner under the name `owner`.
    #[must_use]
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        if !self.owner.is_empty() {
            labels.insert(OWNER.to_owned(), self.owner.clone());
        }
        labels
    }
}

/// The label that stands for the owner; no other may have its name.
const OWNER: &str = "owner";
