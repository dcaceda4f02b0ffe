//! What a node proved last, as it is kept: to go on from, to judge again, and to be looked at years later.

use hallmark_policy::MachineFacts;
use hallmark_spiffe::SpiffeId;

use crate::Undecodable;

/// What a node proved last, without its logs. Every text is JSON whose form belongs to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvidence {
    /// The node.
    pub node: SpiffeId,
    /// When it was judged, in Unix seconds.
    pub judged_at: i64,
    /// Counters, clock and time of the quote: the next quote must follow them.
    pub runs: String,
    /// The quote with what it takes to check it.
    pub file: String,
    /// What was proven, for the rules.
    pub facts: String,
    /// Where the replay of the IMA list stands; empty without one.
    pub ima: String,
    /// What was proven last of the boot before; empty for the first. The store sees to it.
    pub earlier: String,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// The kind's number in the protocol, or [`LINES`].
    pub kind: u8,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Evidence to be kept in the place of what the node proved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvidence {
    /// What was proven.
    pub evidence: NodeEvidence,
    /// Whether the logs that are held are another boot's: then they go, and what was proven of that boot becomes
    /// [`NodeEvidence::earlier`].
    pub drops_logs: bool,
    /// New parts. One at offset 0 takes the place of the log; another must begin where the log ends.
    pub logs: Vec<LogPart>,
}

/// How far a node's evidence goes, for the next challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEvidence {
    /// The node.
    pub node: SpiffeId,
    /// As in [`NodeEvidence`].
    pub runs: String,
    /// As in [`NodeEvidence`].
    pub ima: String,
    /// The length of each log that is held, by kind.
    pub lengths: Vec<(u8, u64)>,
    /// The number of the record that brought it; 0 for what is older than the journal.
    pub revision: u64,
    /// The SHA-256 of the evidence; `None` for what is older than that digest.
    pub evidence_sha256: Option<[u8; 32]>,
}

/// A node's facts, to be judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node.
    pub node: SpiffeId,
    /// As in [`NodeEvidence`].
    pub facts: String,
    /// The number of the record that brought the evidence; 0 for what is older than the journal.
    pub revision: u64,
}

impl NodeFacts {
    /// Reads them: for rules that come later, and for whoever checks a store.
    ///
    /// # Errors
    /// They do not read back.
    pub fn read(&self) -> Result<MachineFacts, Undecodable> {
        serde_json::from_str(&self.facts).map_err(|error| Undecodable {
            node: self.node.clone(),
            reason: format!("facts: {error}"),
        })
    }
}

/// What stands for a log's kind where it is no log of the machine's: what is kept of each line of its IMA list.
pub const LINES: u8 = 128;

/// A log from its beginning: the kind's number in the protocol, or [`LINES`], and the bytes.
pub type WholeLog = (u8, Vec<u8>);
