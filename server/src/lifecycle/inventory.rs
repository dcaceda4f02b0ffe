//! The store's inventory in memory, and what verification sees of it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallmark_registry::InventoryLine;
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::{EkKey, Inventory, InventoryItem, Trust, VerifiedEvidence};

/// One state of the inventory; it never changes, it is replaced.
#[derive(Debug)]
pub struct Known {
    lines: BTreeMap<EkKey, InventoryLine>,
    trust: Arc<Trust>,
}

impl Known {
    /// The lines of the store over those of the configured file: where both name an EK, the store's counts.
    #[must_use]
    pub fn new(configured: &Trust, lines: BTreeMap<EkKey, InventoryLine>) -> Self {
        let mut inventory = Inventory::default();
        let stored = lines.values().map(|line| (line.ek, item(line)));
        let file = configured.inventory.iter().map(|(ek, item)| (*ek, item.clone()));
        for (ek, item) in stored.chain(file) {
            // Said twice is refused, and the first stays.
            drop(inventory.insert(ek, item));
        }
        let trust = Trust {
            inventory,
            roots: configured.roots.clone(),
            expired: configured.expired,
            revocation: Arc::clone(&configured.revocation),
        };
        Self {
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
    pub const fn lines(&self) -> &BTreeMap<EkKey, InventoryLine> {
        &self.lines
    }

    /// The line of exactly this key.
    #[must_use]
    pub fn line(&self, ek: &EkKey) -> Option<&InventoryLine> {
        self.lines.get(ek)
    }

    /// The labels of the machine that `evidence` is about, of a line that counts at `now`.
    #[must_use]
    pub fn labels(&self, evidence: &VerifiedEvidence, now: SystemTime) -> BTreeMap<String, String> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let name = evidence.ek_name();
        let by_name = || {
            let digest = name.as_bytes().get(2..)?;
            let digest = (name.hash_alg() == HashAlg::Sha256).then_some(digest)?;
            self.line(&EkKey::Name(digest.try_into().ok()?))
        };
        self.line(&EkKey::Spki(*evidence.ek_sha256()))
            .or_else(by_name)
            .filter(|line| line.is_valid_at(now))
            .map_or_else(BTreeMap::new, InventoryLine::selector_labels)
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
