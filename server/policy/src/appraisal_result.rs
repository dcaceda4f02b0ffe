//! What rules find in facts.

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;
use serde::{Serialize, Serializer};

use crate::reason::Reason;

/// What every rule found, and the selectors that follow. It grants nothing: see [`Appraisal`](crate::Appraisal).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppraisalResult {
    /// In the order of the rules: the configuration's, then the policies' by name.
    pub(crate) reasons: Vec<Reason>,
    #[serde(serialize_with = "selector_texts")]
    pub(crate) selectors: BTreeSet<Selector>,
}

impl AppraisalResult {
    /// Whether every rule held that does not only report.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.refusal().is_none()
    }

    /// The first rule that refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<&Reason> {
        self.reasons.iter().find(|reason| reason.refuses())
    }

    /// What each rule found, in order.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The rules that did not hold: those that refuse, and those that only report.
    pub fn failures(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(|reason| !reason.holds)
    }

    /// The node's selectors.
    #[must_use]
    pub const fn selectors(&self) -> &BTreeSet<Selector> {
        &self.selectors
    }

    /// As JSON: the same facts, rules and time give the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and truth values always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn selector_texts<S: Serializer>(selectors: &BTreeSet<Selector>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(selectors.iter().map(ToString::to_string))
}
