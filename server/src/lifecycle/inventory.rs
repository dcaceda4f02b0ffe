//! The store's inventory in memory, and what verification sees of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hallmark_state::InventoryLine;
use hallmark_verify::{EkId, Inventory, InventoryItem, Trust, VerifiedEvidence};

/// One state of the inventory; it never changes, it is replaced.
#[derive(Debug)]
pub struct Known {
    /// What the configuration says.
    configured: Arc<Trust>,
    lines: BTreeMap<EkId, InventoryLine>,
    /// Of a machine's further EKs: the one under which its line stands.
    under: BTreeMap<EkId, EkId>,
    trust: Arc<Trust>,
}

impl Known {
    /// The lines of the store over those of the configured file: where both name an EK, the store's counts.
    #[must_use]
    pub fn new(configured: &Arc<Trust>, lines: BTreeMap<EkId, InventoryLine>) -> Self {
        let mut inventory = Inventory::default();
        let stored = lines.values().flat_map(|line| line.eks().map(|ek| (ek, item(line))));
        let file = configured.inventory.iter().map(|(ek, item)| (*ek, item.clone()));
        for (ek, item) in stored.chain(file) {
            // Said twice is refused, and the first stays.
            drop(inventory.insert(ek, item));
        }
        let trust = Trust {
            inventory,
            roots: configured.roots.clone(),
            ek_templates: configured.ek_templates.clone(),
            expired: configured.expired,
            revocation: Arc::clone(&configured.revocation),
        };
        let under = |line: &InventoryLine| {
            let first = line.ek;
            line.other_eks.iter().map(move |ek| (*ek, first)).collect::<Vec<_>>()
        };
        Self {
            configured: Arc::clone(configured),
            under: lines.values().flat_map(under).collect(),
            lines,
            trust: Arc::new(trust),
        }
    }

    /// What verification believes.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    /// Every line, by EK.
    #[must_use]
    pub const fn lines(&self) -> &BTreeMap<EkId, InventoryLine> {
        &self.lines
    }

    /// The line that names exactly this key, alone or with others.
    #[must_use]
    pub fn line(&self, ek: &EkId) -> Option<&InventoryLine> {
        self.lines.get(self.under.get(ek).unwrap_or(ek))
    }

    /// Whether `later` says the same of a machine with these EKs, and trusts what this one does.
    #[must_use]
    pub fn stands_for(&self, eks: &[EkId], later: &Self) -> bool {
        Arc::ptr_eq(&self.configured, &later.configured) && eks.iter().all(|ek| self.line(ek) == later.line(ek))
    }

    /// The labels of the machine that `evidence` is about, also of a line that has expired.
    #[must_use]
    pub fn labels(&self, evidence: &VerifiedEvidence) -> BTreeMap<String, String> {
        let line = evidence.inventory().and_then(|found| self.line(&found.key));
        line.map_or_else(BTreeMap::new, InventoryLine::selector_labels)
    }
}

fn item(line: &InventoryLine) -> InventoryItem {
    // A time before 1970 is not read from any file; it would have expired.
    let expires = |at: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or(0));
    InventoryItem {
        owner: line.owner.clone(),
        expires: line.expires.map(expires),
        class: line.class,
        manufacturer: line.manufacturer.clone(),
        model: line.model.clone(),
    }
}
