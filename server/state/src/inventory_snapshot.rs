//! The inventory as a whole, and what verification sees of it.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_verify::{Inventory, Trust, VerifiedEvidence};

/// One state of the inventory; it never changes, it is replaced.
#[derive(Debug)]
pub struct InventorySnapshot {
    /// What the configuration says.
    configured: Arc<Trust>,
    lines: BTreeMap<EkId, Arc<InventoryItem>>,
    /// Of a machine's further EKs: the one under which its line stands.
    under: BTreeMap<EkId, EkId>,
    trust: Arc<Trust>,
}

impl InventorySnapshot {
    /// The lines of the store over those of the configured file: where both name an EK, the store's counts.
    #[must_use]
    pub fn new(configured: &Arc<Trust>, lines: BTreeMap<EkId, Arc<InventoryItem>>) -> Self {
        let mut inventory = Inventory::default();
        // An EK that was named before keeps its line.
        let all = lines.values().chain(configured.inventory.iter());
        all.for_each(|line| inventory.add(Arc::clone(line)));
        let trust = Trust {
            inventory,
            roots: configured.roots.clone(),
            ek_templates: configured.ek_templates.clone(),
            expired: configured.expired,
            revocation: Arc::clone(&configured.revocation),
        };
        let under = |line: &Arc<InventoryItem>| {
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
    pub const fn lines(&self) -> &BTreeMap<EkId, Arc<InventoryItem>> {
        &self.lines
    }

    /// The line that names exactly this key, alone or with others.
    #[must_use]
    pub fn line(&self, ek: &EkId) -> Option<&Arc<InventoryItem>> {
        self.lines.get(self.under.get(ek).unwrap_or(ek))
    }

    /// What the configuration says.
    #[must_use]
    pub const fn configured(&self) -> &Arc<Trust> {
        &self.configured
    }

    /// Whether `later` says the same of a machine with these EKs.
    #[must_use]
    pub fn says_same(&self, eks: &[EkId], later: &Self) -> bool {
        eks.iter().all(|ek| self.line(ek) == later.line(ek))
    }

    /// The labels of the machine that `evidence` is about, also of a line that has expired.
    #[must_use]
    pub fn labels(&self, evidence: &VerifiedEvidence) -> BTreeMap<String, String> {
        let found = evidence.inventory();
        found.map_or_else(BTreeMap::new, |found| found.item.selector_labels())
    }
}
