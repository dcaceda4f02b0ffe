//! How far the evidence goes that is kept of each node: the next challenge asks only for what is new, and the next quote
//! must follow the last.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use hallmark_evidence::{LogKind, ima::ImaReplay};
use hallmark_spiffe::SpiffeId;
use hallmark_store::{HeldEvidence, LINES, StoreError};
use hallmark_verify::history::{Sessions, Sighting};
use serde::de::DeserializeOwned;

/// What is kept of one node, but for the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The last quote, as far as history is concerned.
    pub sighting: Sighting,
    /// The runs of its agent.
    pub sessions: Sessions,
    /// Where the replay of the IMA list stands.
    pub ima: Option<ImaReplay>,
    /// How many bytes are held of what is kept of its lines.
    pub lines: u64,
    lengths: BTreeMap<LogKind, u64>,
    /// The server's clock was ahead when the last quote was seen.
    time_is_wrong: bool,
}

impl Held {
    /// What is kept after a quote, which was the last of `sessions`.
    #[must_use]
    pub const fn new(
        sighting: Sighting,
        sessions: Sessions,
        ima: Option<ImaReplay>,
        lines: u64,
        lengths: BTreeMap<LogKind, u64>,
    ) -> Self {
        Self {
            sighting,
            sessions,
            ima,
            lines,
            lengths,
            time_is_wrong: false,
        }
    }

    /// The last quote, as the next one is held against it.
    #[must_use]
    pub const fn measure(&self) -> Sighting {
        if self.time_is_wrong {
            self.sighting.without_time()
        } else {
            self.sighting
        }
    }

    /// The runs of the agent, as the next one is held against them.
    #[must_use]
    pub fn sessions_to_follow(&self) -> Sessions {
        if self.time_is_wrong {
            self.sessions.clone().without_time()
        } else {
            self.sessions.clone()
        }
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
        self.sighting.is_same_run(&other.sighting) && state(self) == state(other)
    }

    /// The length of every log that is held.
    #[must_use]
    pub const fn lengths(&self) -> &BTreeMap<LogKind, u64> {
        &self.lengths
    }

    fn read(row: &HeldEvidence) -> Result<Self, StoreError> {
        let logs = row.lengths.iter().filter(|(kind, _)| *kind != LINES);
        let lines = row.lengths.iter().find(|(kind, _)| *kind == LINES);
        let lengths = logs.map(|(kind, length)| {
            let kind = LogKind::from_number(i32::from(*kind)).map_err(|error| undecodable(&row.node, &error))?;
            Ok((kind, *length))
        });
        // Before sessions were kept, the quote stood alone.
        let sessions = parse::<Sighting>(&row.node, &row.sighting).map(Sessions::resume);
        let sessions = sessions.or_else(|_| parse::<Sessions>(&row.node, &row.sighting))?;
        let sighting = sessions.last().copied().ok_or_else(|| StoreError::Undecodable {
            what: format!("the evidence of {}", row.node),
            reason: "no quote is named".to_owned(),
        })?;
        Ok(Self {
            sighting,
            sessions,
            lines: lines.map_or(0, |(_, length)| *length),
            ima: (!row.ima.is_empty()).then(|| parse(&row.node, &row.ima)).transpose()?,
            lengths: lengths.collect::<Result<_, StoreError>>()?,
            time_is_wrong: false,
        })
    }
}

/// What is kept of every node that ever proved something.
#[derive(Debug, Default)]
pub struct Kept(RwLock<BTreeMap<SpiffeId, Arc<Held>>>);

impl Kept {
    /// As the store has it.
    ///
    /// # Errors
    /// When a row does not decode: then what comes next could not be held against it.
    pub fn new(rows: &[HeldEvidence]) -> Result<Self, StoreError> {
        let held = rows
            .iter()
            .map(|row| Ok((row.node.clone(), Arc::new(Held::read(row)?))));
        Ok(Self(RwLock::new(held.collect::<Result<_, StoreError>>()?)))
    }

    /// Notes that the clock was ahead when quotes were seen later than `latest`, in milliseconds since the Unix epoch: their
    /// times say nothing any more. Gives how many those are that it did not know of.
    pub fn doubt_times_after(&self, latest: u64) -> usize {
        let is_wrong = |held: &Held| held.sighting.seen_at > latest && !held.time_is_wrong;
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Nearly always: nobody waits for that.
        if !kept.values().any(|held| is_wrong(held)) {
            return 0;
        }
        drop(kept);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let wrong = kept.values_mut().filter(|held| is_wrong(held));
        wrong
            .map(|held| {
                *held = Arc::new(Held {
                    time_is_wrong: true,
                    ..Held::clone(held)
                });
            })
            .count()
    }

    /// What is kept of one node.
    #[must_use]
    pub fn find(&self, node: &SpiffeId) -> Option<Arc<Held>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(node).cloned()
    }

    /// Follows the store.
    pub fn put(&self, node: &SpiffeId, held: Arc<Held>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.insert(node.clone(), held);
    }
}

fn parse<T: DeserializeOwned>(node: &SpiffeId, json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| undecodable(node, &error))
}

/// The error for kept evidence that does not read back.
pub(crate) fn undecodable(node: &SpiffeId, error: &dyn std::error::Error) -> StoreError {
    StoreError::Undecodable {
        what: format!("the evidence of {node}"),
        reason: error.to_string(),
    }
}
