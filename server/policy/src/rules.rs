//! What the operator demands of a machine.

use hallmark_verify::TpmClass;
use std::collections::BTreeSet;

/// The operator's rules. The default suits production: real TPMs of every kind, no simulators, nothing denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The TPM classes that may join. A TPM without a verified EK certificate is of the class that its line in the
    /// inventory states; with none stated it joins only where discrete, firmware and virtual ones all may, or `Unknown`.
    pub allowed_classes: BTreeSet<TpmClass>,
    /// Whether the EK must be in the inventory even where its certificate is good.
    pub require_inventory: bool,
    /// SHA-256 of the SPKI of EKs that may never join.
    pub denied_eks: BTreeSet<[u8; 32]>,
    /// TPM manufacturers that may not join, as the EK certificate names them (`id:00001014`), in
    /// upper or lower case. With any denied, a TPM whose manufacturer neither certificate nor inventory names is refused.
    pub denied_manufacturers: BTreeSet<String>,
    /// TPM models that may not join, as the EK certificate names them, in upper or lower case; unknown ones as above.
    pub denied_models: BTreeSet<String>,
    /// Firmware versions that may not join, as the quote reports them.
    pub denied_firmware: BTreeSet<u64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allowed_classes: [TpmClass::Discrete, TpmClass::Firmware, TpmClass::Virtual].into(),
            require_inventory: false,
            denied_eks: BTreeSet::new(),
            denied_manufacturers: BTreeSet::new(),
            denied_models: BTreeSet::new(),
            denied_firmware: BTreeSet::new(),
        }
    }
}
