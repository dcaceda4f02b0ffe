//! In what a machine differs from a baseline or from its boot before.

use hallmark_policy::Comparison;
use serde::Serialize;

use crate::output::Show;
use hallmark_host::printable;

/// A comparison in words.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct DifferenceView(Comparison);

impl DifferenceView {
    pub(crate) const fn new(comparison: Comparison) -> Self {
        Self(comparison)
    }
}

impl Show for DifferenceView {
    fn table(&self, _now: i64) -> String {
        if self.0.matches && self.0.facts.is_empty() {
            return format!("nothing differs from {}\n", self.0.baseline);
        }
        let text = self.0.to_string();
        let mut lines: String = text.lines().map(|line| format!("{}\n", printable(line))).collect();
        if let Some(event) = self.0.first_event() {
            lines.push_str(&format!("the boots part at {}\n", printable(&event.to_string())));
        }
        lines
    }
}
