//! What the server knows of an installation beside its stage.

use hallmark_node::EkId;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::SpiffeId;

use crate::{ImageAssignment, State};

/// Why a machine that came back after its installation is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallFinding {
    /// Its attestation was refused.
    #[error("the machine came back and was refused; next: hallmark node explain {node}")]
    Refused {
        /// The machine's node.
        node: SpiffeId,
        /// The code of the refusal.
        code: String,
    },
    /// Its attestation was accepted, and matches another baseline or none.
    #[error(
        "the machine came back and does not match the baseline {baseline}; next: hallmark node explain {node}; then \
         hallmark provision assign with the baseline of the image"
    )]
    OtherBaseline {
        /// The machine's node.
        node: SpiffeId,
        /// The assigned baseline.
        baseline: String,
        /// What it matches.
        found: String,
    },
}

impl InstallFinding {
    /// What was found of an assignment whose machine restarts from its disk; `None` while it has not come back.
    #[must_use]
    pub fn of(state: &State, it: &ImageAssignment) -> Option<Self> {
        let keys = state.links().keys_of_machine(&it.ek);
        let eks = keys.iter().filter_map(|key: &EkId| state.links().ek_of_key(key));
        let mut nodes = eks.filter_map(|ek| state.node_of_ek(&ek));
        let node = nodes.find(|node| {
            let proven = state.attestation(&node.id);
            proven.is_some_and(|proven| it.has_booted_in(proven.quote_clock.reset_count))
        })?;
        let id = node.id.clone();
        if node.untrusted_reason.is_empty() {
            let matched = node.selectors.iter().map(ToString::to_string);
            let matched: Vec<String> = matched.filter(|text| text.starts_with("boot:baseline:")).collect();
            return (!it.is_matched_by(&node.selectors)).then(|| Self::OtherBaseline {
                node: id,
                baseline: it.order.baseline.clone(),
                found: if matched.is_empty() {
                    "none".to_owned()
                } else {
                    matched.join(", ")
                },
            });
        }
        let code = node.untrusted_reason.clone();
        Some(Self::Refused { node: id, code })
    }

    /// The reason code: of the refusal, or of this finding.
    #[must_use]
    pub fn told_code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::OtherBaseline { .. } => self.code().as_str(),
        }
    }
}

impl Coded for InstallFinding {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-REG-0105")
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Refused { .. } => None,
            Self::OtherBaseline { baseline, found, .. } => {
                Some(format!("assigned boot:baseline:{baseline}, found {found}"))
            }
        }
    }
}
