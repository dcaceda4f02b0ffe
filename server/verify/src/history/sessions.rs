//! Two machines with one TPM's state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Continuity, HistoryError, Sighting, Succession, follow};

/// How many ended sessions are remembered. An attacker who opens more than these loses the trail of the oldest, but by
/// then every one of them has been the newest, and the counters were held against each other every time.
const REMEMBERED: usize = 16;

/// A session of an agent with the server: one run of the agent, which draws a number when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// What was last proven of one TPM, and in which session.
///
/// A machine has one session at a time: a new one (the agent or the machine started again) ends the one before. A
/// session that was ended and proves something all the same belongs to a second machine with the same TPM state. So two
/// copies that take turns are found at the third turn at the latest, however well their counters agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    last: Option<Sighting>,
    current: Option<SessionId>,
    ended: VecDeque<SessionId>,
}

impl Sessions {
    /// What was last proven, if anything was.
    #[must_use]
    pub const fn last(&self) -> Option<&Sighting> {
        self.last.as_ref()
    }

    /// The session that proved something last.
    #[must_use]
    pub const fn current(&self) -> Option<SessionId> {
        self.current
    }

    /// A TPM of which `last` is known and no session lives: what a server has after its own start.
    #[must_use]
    pub fn resume(last: Sighting) -> Self {
        Self {
            last: Some(last),
            ..Self::default()
        }
    }

    /// The same, where the server's clock was wrong when the last quote was seen.
    #[must_use]
    pub fn without_time(mut self) -> Self {
        self.last = self.last.map(Sighting::without_time);
        self
    }

    /// Takes in that `session` proved `now`. A refusal changes nothing: what was proven before stays the measure.
    ///
    /// # Errors
    /// [`HistoryError::TwoSessions`] when the session had been ended by a newer one; else as [`follow`].
    pub fn observe(&mut self, session: SessionId, now: Sighting) -> Result<Succession, HistoryError> {
        if self.ended.contains(&session) {
            return Err(HistoryError::TwoSessions {
                ended: session,
                current: self.current.unwrap_or(session),
            });
        }
        let succession = match &self.last {
            Some(last) => follow(last, &now)?,
            None => Succession {
                continuity: Continuity::First,
                lag: std::time::Duration::ZERO,
                firmware_changed: false,
            },
        };
        if let Some(before) = self.current.filter(|current| *current != session) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back(before);
        }
        self.current = Some(session);
        self.last = Some(now);
        Ok(succession)
    }
}
