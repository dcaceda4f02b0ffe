//! What the operator demands of a machine.

use std::collections::BTreeSet;

use hallmark_node::{Maker, Model, TpmClass};
use serde::{Deserialize, Serialize};

/// The operator's rules. The default suits production: real TPMs of every kind, no simulators, nothing denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Form", try_from = "Form")]
pub struct Rules {
    /// The TPM classes that may join. A TPM without a verified EK certificate is of the class that its line in the
    /// inventory states; with none stated it joins only where discrete, firmware and virtual ones all may, or `Unknown`.
    pub allowed_classes: BTreeSet<TpmClass>,
    /// Whether the EK must be in the inventory even where its certificate is good.
    pub require_inventory: bool,
    /// SHA-256 of the SPKI of EKs that may never join, lower-case hex.
    pub denied_eks: BTreeSet<String>,
    /// TPM manufacturers that may not join, as the EK certificate names them. With any denied, a TPM whose manufacturer neither certificate nor inventory names is refused.
    pub denied_manufacturers: BTreeSet<Maker>,
    /// TPM models that may not join, as the EK certificate names them; unknown ones as above.
    pub denied_models: BTreeSet<Model>,
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

/// The rules as they are kept beside evidence.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    allowed_classes: BTreeSet<String>,
    require_inventory: bool,
    denied_eks: BTreeSet<String>,
    denied_manufacturers: BTreeSet<Maker>,
    denied_models: BTreeSet<Model>,
    denied_firmware: BTreeSet<u64>,
}

impl From<Rules> for Form {
    fn from(rules: Rules) -> Self {
        let classes = rules.allowed_classes.iter();
        Self {
            allowed_classes: classes.map(|class| class.as_str().to_owned()).collect(),
            require_inventory: rules.require_inventory,
            denied_eks: rules.denied_eks,
            denied_manufacturers: rules.denied_manufacturers,
            denied_models: rules.denied_models,
            denied_firmware: rules.denied_firmware,
        }
    }
}

impl TryFrom<Form> for Rules {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let classes = form.allowed_classes.iter();
        let class = |name: &String| TpmClass::from_name(name).ok_or_else(|| format!("unknown TPM class {name:?}"));
        Ok(Self {
            allowed_classes: classes.map(class).collect::<Result<_, _>>()?,
            require_inventory: form.require_inventory,
            denied_eks: form.denied_eks,
            denied_manufacturers: form.denied_manufacturers,
            denied_models: form.denied_models,
            denied_firmware: form.denied_firmware,
        })
    }
}
