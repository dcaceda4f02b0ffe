//! Rows of the store that nobody is served by: entries that grant nothing, nodes that count as banned.

use std::collections::BTreeMap;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_store::NODE_ROW_DAMAGED;

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

/// Nodes whose rows do not read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {} not read back: no SVID, and it counts as banned; the first: {first}", rows(*count))]
pub struct DamagedNodes {
    /// How many.
    pub count: usize,
    /// The first.
    pub first: SpiffeId,
    /// What is damaged in the row of the first.
    pub reason: String,
}

fn rows(count: usize) -> String {
    match count {
        1 => "row of one node does".to_owned(),
        _ => format!("rows of {count} nodes do"),
    }
}

impl DamagedNodes {
    /// Those of `nodes`, with what is damaged in the row of each; `None` where there are none.
    #[must_use]
    pub fn of(nodes: &BTreeMap<SpiffeId, String>) -> Option<Self> {
        nodes.first_key_value().map(|(first, reason)| Self {
            count: nodes.len(),
            first: first.clone(),
            reason: reason.clone(),
        })
    }
}

impl Coded for DamagedNodes {
    fn code(&self) -> ReasonCode {
        NODE_ROW_DAMAGED
    }

    fn compared(&self) -> Option<String> {
        Some(format!("of {}: {}", self.first, self.reason))
    }

    fn precise_step(&self) -> Option<String> {
        Some(format!(
            "hallmark record list {0} --kind admin tells whether an operator had put it out; then hallmark node unban {0}, after which \
             it attests again, or hallmark node ban {0} to keep it out",
            self.first
        ))
    }
}
