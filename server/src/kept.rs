//! How far the evidence goes that is kept of each node: the next challenge asks only for what is new, and the next quote
//! must follow the last.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hallmark_evidence::{LogKind, ima::ImaReplay};
use hallmark_spiffe::SpiffeId;
use hallmark_store::{HeldEvidence, LINES, StoreError};
use hallmark_verify::history::{AgentRuns, QuoteClock};
use serde::de::DeserializeOwned;

/// What is kept of one node, but for the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The last quote, as far as history is concerned.
    pub quote_clock: QuoteClock,
    /// The runs of its agent.
    pub runs: AgentRuns,
    /// Where the replay of the IMA list stands.
    pub ima: Option<ImaReplay>,
    /// How many bytes are held of what is kept of its lines.
    pub lines: u64,
    lengths: BTreeMap<LogKind, u64>,
    /// The server's clock was ahead when the last quote was seen.
    time_is_wrong: bool,
}

impl Held {
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
            time_is_wrong: false,
        }
    }

    /// The runs of the agent, as the next one is held against them.
    #[must_use]
    pub fn runs_to_follow(&self) -> AgentRuns {
        if self.time_is_wrong {
            self.runs.clone().without_time()
        } else {
            self.runs.clone()
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
        self.quote_clock.is_same_run(&other.quote_clock) && state(self) == state(other)
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
        // Before runs were kept, the quote stood alone.
        let runs = parse::<QuoteClock>(&row.node, &row.sighting).map(AgentRuns::resume);
        let runs = runs.or_else(|_| parse::<AgentRuns>(&row.node, &row.sighting))?;
        let quote_clock = runs.last().copied().ok_or_else(|| StoreError::Undecodable {
            what: format!("the evidence of {}", row.node),
            reason: "no quote is named".to_owned(),
        })?;
        Ok(Self {
            quote_clock,
            runs,
            lines: lines.map_or(0, |(_, length)| *length),
            ima: (!row.ima.is_empty()).then(|| parse(&row.node, &row.ima)).transpose()?,
            lengths: lengths.collect::<Result<_, StoreError>>()?,
            time_is_wrong: false,
        })
    }
}

/// What is kept of every node that ever proved something.
#[derive(Debug, Default)]
pub struct Kept {
    held: RwLock<BTreeMap<SpiffeId, Arc<Held>>>,
    /// When the last of all quotes was seen whose time is not doubted, in milliseconds since the Unix epoch.
    latest: AtomicU64,
}

impl Kept {
    /// As the store has it.
    ///
    /// # Errors
    /// When a row does not decode: then what comes next could not be held against it.
    pub fn new(rows: &[HeldEvidence]) -> Result<Self, StoreError> {
        let held = rows
            .iter()
            .map(|row| Ok((row.node.clone(), Arc::new(Held::read(row)?))));
        let held: BTreeMap<_, Arc<Held>> = held.collect::<Result<_, StoreError>>()?;
        let latest = held
            .values()
            .map(|held| held.quote_clock.seen_at)
            .max()
            .unwrap_or_default();
        Ok(Self {
            held: RwLock::new(held),
            latest: AtomicU64::new(latest),
        })
    }

    /// Notes that the clock was ahead when quotes were seen later than `now`, in milliseconds since the Unix epoch: their
    /// times say nothing any more. Gives how many those are. Where none was, it costs nothing.
    pub fn doubt_times_after(&self, now: u64) -> usize {
        if self.latest.load(Ordering::SeqCst) <= now {
            return 0;
        }
        let mut kept = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let (mut latest, mut doubted) = (0, 0);
        for held in kept.values_mut().filter(|held| !held.time_is_wrong) {
            if held.quote_clock.seen_at > now {
                doubted += 1;
                *held = Arc::new(Held {
                    time_is_wrong: true,
                    ..Held::clone(held)
                });
            } else {
                latest = latest.max(held.quote_clock.seen_at);
            }
        }
        self.latest.store(latest, Ordering::SeqCst);
        doubted
    }

    /// What is kept of one node.
    #[must_use]
    pub fn find(&self, node: &SpiffeId) -> Option<Arc<Held>> {
        let kept = self.held.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(node).cloned()
    }

    /// Follows the store.
    pub fn put(&self, node: &SpiffeId, held: Arc<Held>) {
        let mut kept = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.latest.fetch_max(held.quote_clock.seen_at, Ordering::SeqCst);
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
