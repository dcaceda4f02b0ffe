//! Entries that are in the store and grant nothing.

use std::collections::BTreeMap;

use hallmark_reason::{Coded, ReasonCode};

/// Entries whose rows do not read back, or that no request could have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} grants nothing: what is stored does not read back, or breaks a rule; the first: {first}", told(*count))]
pub struct EntriesLeftOut {
    /// How many.
    pub count: usize,
    /// The id of the first.
    pub first: String,
    /// Why the first is left out.
    pub reason: String,
}

fn told(count: usize) -> String {
    match count {
        1 => "one entry".to_owned(),
        _ => format!("each of {count} entries"),
    }
}

impl EntriesLeftOut {
    /// Those of `entries`, by id with the reason of each; `None` where there are none.
    #[must_use]
    pub fn of(entries: &BTreeMap<String, String>) -> Option<Self> {
        entries.first_key_value().map(|(first, reason)| Self {
            count: entries.len(),
            first: first.clone(),
            reason: reason.clone(),
        })
    }
}

impl Coded for EntriesLeftOut {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0038")
    }

    fn compared(&self) -> Option<String> {
        Some(format!("of entry {}: {}", self.first, self.reason))
    }

    fn precise_step(&self) -> Option<String> {
        Some(format!(
            "hallmark entry create --id {0} --spiffe-id ID --parent-id ID --selector SELECTOR writes it anew; then hallmark entry delete {0}, if it is not wanted",
            self.first
        ))
    }
}
