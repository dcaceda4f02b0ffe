//! How far the evidence goes that is kept of each node: the next challenge asks only for what is new, and the next quote
//! must follow the last.

use std::collections::BTreeMap;

use hallmark_evidence::{LogKind, ima::ImaReplay};
use hallmark_spiffe::SpiffeId;
use hallmark_verify::history::{AgentRuns, QuoteClock};
use serde::de::DeserializeOwned;

use crate::{HeldEvidence, LINES};

/// What is kept of one node, but for the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationState {
    /// The last quote, as far as history is concerned.
    pub quote_clock: QuoteClock,
    /// The runs of its agent.
    pub runs: AgentRuns,
    /// Where the replay of the IMA list stands.
    pub ima: Option<ImaReplay>,
    /// How many bytes are held of what is kept of its lines.
    pub lines: u64,
    lengths: BTreeMap<LogKind, u64>,
    /// The number of the record that brought it; 0 for what is older than the journal.
    pub revision: u64,
    /// The SHA-256 of the evidence that was judged (docs/reference/journal.md says how it is computed); `None` for what is
    /// older than that digest.
    pub evidence_sha256: Option<[u8; 32]>,
}

impl AttestationState {
    /// What is kept after a quote, which was the last of `runs`.
    #[must_use]
    pub const fn new(
        quote_clock: QuoteClock,
        runs: AgentRuns,
        ima: Option<ImaReplay>,
        lines: u64,
        lengths: BTreeMap<LogKind, u64>,
    ) -> Self {
        Self {
            quote_clock,
            runs,
            ima,
            lines,
            lengths,
            revision: 0,
            evidence_sha256: None,
        }
    }

    /// The same, of the evidence with this SHA-256.
    #[must_use]
    pub fn of_evidence(self, sha256: [u8; 32]) -> Self {
        Self {
            evidence_sha256: Some(sha256),
            ..self
        }
    }

    /// The same, where the server's clock was ahead when the last quote was seen: its time says nothing any more.
    #[must_use]
    pub fn without_time(&self) -> Self {
        Self {
            quote_clock: self.quote_clock.without_time(),
            runs: self.runs.clone().without_time(),
            ..self.clone()
        }
    }

    /// The same history, of which no log is held: the next challenge asks for the logs from their beginning.
    #[must_use]
    pub fn without_logs(&self) -> Self {
        Self {
            ima: None,
            lines: 0,
            lengths: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// The same, made by the record with this number.
    #[must_use]
    pub fn at_revision(self, revision: u64) -> Self {
        Self { revision, ..self }
    }

    /// The quotes, as the store keeps them.
    #[must_use]
    pub fn runs_json(&self) -> String {
        // Numbers and lists always have a JSON form.
        serde_json::to_string(&self.runs).unwrap_or_default()
    }

    /// Where the replay of the IMA list stands, as the store keeps it; empty without one.
    #[must_use]
    pub fn ima_json(&self) -> String {
        let json = |ima| serde_json::to_string(ima).unwrap_or_default();
        self.ima.as_ref().map_or_else(String::new, json)
    }

    /// How many bytes of a log are held.
    #[must_use]
    pub fn length(&self, kind: LogKind) -> u64 {
        self.lengths.get(&kind).copied().unwrap_or_default()
    }

    /// Whether the logs of both end at the same place of the same boot.
    #[must_use]
    pub fn has_logs_of(&self, other: &Self) -> bool {
        let state = |held: &Self| (held.lines, held.ima.clone(), held.lengths.clone());
        self.quote_clock.is_same_run(&other.quote_clock) && state(self) == state(other)
    }

    /// The length of every log that is held.
    #[must_use]
    pub const fn lengths(&self) -> &BTreeMap<LogKind, u64> {
        &self.lengths
    }

    /// As it was kept.
    ///
    /// # Errors
    /// When the row does not decode: then what comes next could not be held against it.
    pub fn read(row: &HeldEvidence) -> Result<Self, Undecodable> {
        let logs = row.lengths.iter().filter(|(kind, _)| *kind != LINES);
        let lines = row.lengths.iter().find(|(kind, _)| *kind == LINES);
        let lengths = logs.map(|(kind, length)| {
            let kind = LogKind::from_number(i32::from(*kind)).map_err(|error| undecodable(&row.node, &error))?;
            Ok((kind, *length))
        });
        // Before runs were kept, the quote stood alone.
        let runs = parse::<QuoteClock>(&row.node, &row.runs).map(AgentRuns::resume);
        let runs = runs.or_else(|_| parse::<AgentRuns>(&row.node, &row.runs))?;
        let quote_clock = runs.last().copied().ok_or_else(|| Undecodable {
            node: row.node.clone(),
            reason: "no quote is named".to_owned(),
        })?;
        Ok(Self {
            quote_clock,
            runs,
            lines: lines.map_or(0, |(_, length)| *length),
            ima: (!row.ima.is_empty()).then(|| parse(&row.node, &row.ima)).transpose()?,
            lengths: lengths.collect::<Result<_, Undecodable>>()?,
            revision: row.revision,
            evidence_sha256: row.evidence_sha256,
        })
    }
}

fn parse<T: DeserializeOwned>(node: &SpiffeId, json: &str) -> Result<T, Undecodable> {
    serde_json::from_str(json).map_err(|error| undecodable(node, &error))
}

/// Kept evidence does not read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the evidence of {node} does not read back: {reason}")]
pub struct Undecodable {
    /// Whose.
    pub node: SpiffeId,
    /// What is wrong.
    pub reason: String,
}

fn undecodable(node: &SpiffeId, error: &dyn std::error::Error) -> Undecodable {
    Undecodable {
        node: node.clone(),
        reason: error.to_string(),
    }
}
