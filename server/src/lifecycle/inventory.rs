//! The store's inventory in memory, and what verification sees of it.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_verify::{Inventory, Trust, VerifiedEvidence};

/// One state of the inventory; it never changes, it is replaced.
#[derive(Debug)]
pub struct Known {
    /// What the configuration says.
    configured: Arc<Trust>,
    lines: BTreeMap<EkId, InventoryItem>,
    /// Of a machine's further EKs: the one under which its line stands.
    under: BTreeMap<EkId, EkId>,
    trust: Arc<Trust>,
}

impl Known {
    /// The lines of the store over those of the configured file: where both name an EK, the store's counts.
    #[must_use]
    pub fn new(configured: &Arc<Trust>, lines: BTreeMap<EkId, InventoryItem>) -> Self {
        let mut inventory = Inventory::default();
        lines.values().for_each(|line| inventory.add(Arc::new(line.clone())));
        configured
            .inventory
            .iter()
            .for_each(|item| inventory.add(Arc::clone(item)));
        let trust = Trust {
            inventory,
            roots: configured.roots.clone(),
            ek_templates: configured.ek_templates.clone(),
            expired: configured.expired,
            revocation: Arc::clone(&configured.revocation),
        };
        let under = |line: &InventoryItem| {
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
    pub const fn lines(&self) -> &BTreeMap<EkId, InventoryItem> {
        &self.lines
    }

    /// The line that names exactly this key, alone or with others.
    #[must_use]
    pub fn line(&self, ek: &EkId) -> Option<&InventoryItem> {
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
        let found = evidence.inventory();
        found.map_or_else(BTreeMap::new, |found| found.item.selector_labels())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hallmark_node::{Form, read_inventory};
    use hallmark_verify::testing::{SoftwareMachine, VendorCa, attest};

    use super::*;

    #[test]
    fn owner_and_labels_count_from_the_file_and_from_imports_and_the_import_comes_first() {
        let vendor = VendorCa::new();
        let (machine, trust) = (SoftwareMachine::new(&vendor), SoftwareMachine::trust(&vendor));
        let attested = |trust: &Trust| attest(&machine, trust, None, SystemTime::now()).unwrap();
        let ek = hex::encode(attested(&trust).ek_sha256());
        let read = |owner: &str, label: &str| {
            let file = format!("ek_sha256,owner,labels\n{ek},{owner},{label}\n");
            read_inventory(file.as_bytes(), Form::Csv).unwrap()
        };
        let configured = Arc::new(Trust {
            inventory: read("ops", "site=berlin").into_iter().collect(),
            ..trust
        });
        let labels = |lines: Vec<InventoryItem>| {
            let known = Known::new(&configured, lines.into_iter().map(|line| (line.ek, line)).collect());
            known.labels(&attested(&known.trust()))
        };
        let expected = |pairs: [(&str, &str); 2]| -> BTreeMap<String, String> {
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        assert_eq!(labels(Vec::new()), expected([("owner", "ops"), ("site", "berlin")]));
        assert_eq!(
            labels(read("payments", "rack=7")),
            expected([("owner", "payments"), ("rack", "7")])
        );
    }
}
