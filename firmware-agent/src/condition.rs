//! How the agent is doing: noted by whoever does the work, read by whoever watches.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hallmark_reason::{Coded, ReasonCode};
use hallmark_tpm::{Observer, TpmError};
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};

use crate::AgentError;

/// What failed last, in its code and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: ReasonCode,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn of(error: &dyn Coded) -> Self {
        Self {
            code: error.code(),
            text: error.to_string(),
        }
    }
}

/// The agent's tasks, as they are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Attests, and holds the agent's SVID.
    Attestation,
    /// Asks the server for entries and bundle.
    Channel,
    /// Gets the workloads' SVIDs.
    Issue,
}

impl Task {
    /// Its name in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Channel => "server channel",
            Self::Issue => "issue",
        }
    }
}

/// What the agent's tasks note down.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// When the agent started.
    pub(crate) started: Instant,
    /// When each task last came round.
    pub(crate) beats: BTreeMap<Task, Instant>,
    /// Until when the agent's SVID is valid; none where it has none.
    pub(crate) valid_until: Option<SystemTime>,
    /// Why the last attestation failed.
    pub(crate) not_attested: Option<Failure>,
    /// When the server last told all entries and the bundle.
    pub(crate) synced: Option<Instant>,
    /// How many of them the agent does not take, and why.
    pub(crate) not_taken: Option<(usize, Failure)>,
    /// Why it did not since.
    pub(crate) not_synced: Option<Failure>,
    /// Since when the server has answered no request for SVIDs, and why.
    pub(crate) not_issued: Option<(Instant, Failure)>,
    /// Why the last state could not be written down.
    pub(crate) not_saved: Option<Failure>,
    /// Entries that have no SVID, though one was asked for.
    pub(crate) unissued: usize,
    /// Attestations by how they ended.
    pub(crate) attestations: Attestations,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            beats: BTreeMap::new(),
            valid_until: None,
            not_attested: None,
            synced: None,
            not_taken: None,
            not_synced: None,
            not_issued: None,
            not_saved: None,
            unissued: 0,
            attestations: Attestations::default(),
        }
    }
}

impl Noted {
    /// The task that has not come round for longest, and for how long.
    pub(crate) fn slowest(&self) -> (Task, Duration) {
        let since = |task| (task, self.beats.get(&task).unwrap_or(&self.started).elapsed());
        let [first, rest @ ..] = [Task::Attestation, Task::Channel, Task::Issue].map(since);
        rest.into_iter().fold(first, |a, b| if b.1 > a.1 { b } else { a })
    }
}

/// Attestations since the start, by how they ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attestations {
    /// With an SVID.
    pub(crate) accepted: u64,
    /// With the server's refusal.
    pub(crate) refused: u64,
    /// Without a verdict: server or TPM could not be reached, and the like.
    pub(crate) failed: u64,
}

/// How the agent is doing. Nobody waits long for it.
#[derive(Debug, Default)]
pub struct Condition(Mutex<Noted>);

impl Condition {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Noted {
        self.lock().clone()
    }

    /// A task has come round.
    pub(crate) fn beat(&self, task: Task) {
        self.lock().beats.insert(task, Instant::now());
    }

    /// Until when the agent's SVID is valid.
    pub(crate) fn holds(&self, valid_until: Option<SystemTime>) {
        self.lock().valid_until = valid_until;
    }

    /// The state was written down, or not. Gives whether that is news.
    pub(crate) fn saved(&self, saved: Result<(), &AgentError>) -> bool {
        let not_saved = saved.err().map(|error| Failure::of(error));
        let mut noted = self.lock();
        let is_news = noted.not_saved != not_saved;
        noted.not_saved = not_saved;
        is_news
    }

    pub(crate) fn attested(&self) {
        let mut noted = self.lock();
        noted.not_attested = None;
        noted.attestations.accepted += 1;
    }

    pub(crate) fn not_attested(&self, error: &AgentError) {
        let mut noted = self.lock();
        noted.not_attested = Some(Failure::of(error));
        let is_verdict = matches!(
            error,
            AgentError::Refused { .. } | AgentError::Banned { .. } | AgentError::Suspended { .. }
        );
        if is_verdict {
            noted.attestations.refused += 1;
        } else {
            noted.attestations.failed += 1;
        }
    }

    /// The server told all entries; so many are more than the agent takes. Gives whether that is news.
    pub(crate) fn synced(&self, not_taken: Option<(usize, &AgentError)>) -> bool {
        let not_taken = not_taken.map(|(count, error)| (count, Failure::of(error)));
        let mut noted = self.lock();
        noted.synced = Some(Instant::now());
        noted.not_synced = None;
        let is_news = noted.not_taken != not_taken;
        noted.not_taken = not_taken;
        is_news
    }

    /// How many entries have no SVID, though one was asked for.
    pub(crate) fn unissued(&self, count: usize) {
        self.lock().unissued = count;
    }

    /// The server answered a request for SVIDs.
    pub(crate) fn issued(&self) {
        self.lock().not_issued = None;
    }

    pub(crate) fn not_issued(&self, error: &AgentError) {
        let failure = Failure::of(error);
        let mut noted = self.lock();
        let since = noted.not_issued.take().map_or_else(Instant::now, |(since, _)| since);
        noted.not_issued = Some((since, failure));
    }

    pub(crate) fn not_synced(&self, error: &AgentError) {
        self.lock().not_synced = Some(Failure::of(error));
    }
}

/// Which work of the TPM, as a label.
type WorkLabel = [(&'static str, &'static str); 1];

/// What the TPM's thread does, and what it has done.
#[derive(Debug)]
pub(crate) struct TpmUse {
    now: Mutex<Use>,
    /// How long each kind of work took, in seconds.
    pub(crate) seconds: Family<WorkLabel, Histogram, fn() -> Histogram>,
    /// How often it failed.
    pub(crate) errors: Family<WorkLabel, Counter>,
}

/// A look at the TPM's thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    /// Since when the work lasts that is under way.
    pub(crate) busy_since: Option<Instant>,
    /// When the last one ended, and what it failed with.
    pub(crate) last: Option<(Instant, Option<Failure>)>,
}

impl Default for TpmUse {
    fn default() -> Self {
        // From a command that only reads, to a key of a slow chip.
        let classes = || {
            Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0,
            ])
        };
        Self {
            now: Mutex::default(),
            seconds: Family::new_with_constructor(classes),
            errors: Family::default(),
        }
    }
}

impl TpmUse {
    fn lock(&self) -> MutexGuard<'_, Use> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Use {
        self.lock().clone()
    }
}

impl Observer for TpmUse {
    fn begins(&self) {
        self.lock().busy_since = Some(Instant::now());
    }

    fn ended(&self, work: &'static str, took: Duration, error: Option<&TpmError>) {
        *self.lock() = Use {
            busy_since: None,
            last: Some((Instant::now(), error.map(|error| Failure::of(error)))),
        };
        let label = [("work", work)];
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
        self.errors.get_or_create(&label).inc_by(u64::from(error.is_some()));
    }
}
