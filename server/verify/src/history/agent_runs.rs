//! Two machines with one TPM's state.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::follow::follow;
use super::{Continuity, HistoryError, QuoteClock, Succession};

/// How many ended runs are remembered. An attacker who starts more than these loses the trail of the oldest, but by
/// then every one of them has been the newest, and the counters were held against each other every time.
const REMEMBERED: usize = 16;

/// One run of an agent, which draws this number when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentRunId(pub u64);

/// What was last proven of one TPM, and in which run.
///
/// A machine has one run of its agent at a time: a new one (the agent or the machine started again) ends the one before. A
/// run that was ended and proves something all the same belongs to a second machine with the same TPM state. So two
/// copies that take turns are found at the third turn at the latest, however well their counters agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRuns {
    last: Option<QuoteClock>,
    current: Option<AgentRunId>,
    ended: VecDeque<AgentRunId>,
}

impl AgentRuns {
    /// What was last proven, if anything was.
    #[must_use]
    pub const fn last(&self) -> Option<&QuoteClock> {
        self.last.as_ref()
    }

    /// The run that proved something last.
    #[must_use]
    pub const fn current(&self) -> Option<AgentRunId> {
        self.current
    }

    /// A TPM of which `last` is known and no run is known: what a server has after its own start.
    #[must_use]
    pub fn resume(last: QuoteClock) -> Self {
        Self {
            last: Some(last),
            ..Self::default()
        }
    }

    /// The same, where the server's clock was wrong when the last quote was seen.
    #[must_use]
    pub fn without_time(mut self) -> Self {
        self.last = self.last.map(QuoteClock::without_time);
        self
    }

    /// Whether `run` can have proved `now` after all that was proven before. Whoever looks, looks here.
    ///
    /// # Errors
    /// [`HistoryError::TwoAgentRuns`] when the run had been ended by a newer one; else the counters or the clock went back, or
    /// the clock or the firmware version jumped.
    pub fn require_follows(&self, run: AgentRunId, now: &QuoteClock) -> Result<Succession, HistoryError> {
        if self.ended.contains(&run) {
            return Err(HistoryError::TwoAgentRuns {
                ended: run,
                current: self.current.unwrap_or(run),
            });
        }
        match &self.last {
            Some(last) => follow(last, now),
            None => Ok(Succession {
                continuity: Continuity::First,
                lag: Duration::ZERO,
                firmware_changed: false,
            }),
        }
    }

    /// Takes in that `run` proved `now`. A refusal changes nothing: what was proven before stays the measure.
    ///
    /// # Errors
    /// As [`require_follows`](Self::require_follows).
    pub fn observe(&mut self, run: AgentRunId, now: QuoteClock) -> Result<Succession, HistoryError> {
        let succession = self.require_follows(run, &now)?;
        if let Some(before) = self.current.filter(|current| *current != run) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back(before);
        }
        self.current = Some(run);
        self.last = Some(now);
        Ok(succession)
    }
}
