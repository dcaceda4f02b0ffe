//! Whether the token serves, and since when not.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hallmark_hsm::{HsmError, LastFailure, State};
use hallmark_reason::Coded;

use crate::token::OpenToken;

/// The longest time between two attempts to open a lost token.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// A token that served this long starts with a clean slate.
const STABLE: Duration = Duration::from_secs(30);

/// The state that workers, recovery and callers share.
pub(crate) struct Health {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    phase: Phase,
    /// Counts openings, so that late news about an earlier one is told from news about the present one.
    generation: u64,
    opened: Instant,
    /// Losses in close succession.
    streak: u32,
    reopened: u64,
    token: OpenToken,
    last_failure: Option<LastFailure>,
}

#[derive(Clone)]
enum Phase {
    Ready,
    Down {
        error: HsmError,
        attempts: u32,
        next: Instant,
    },
    Refused(HsmError),
    Closed,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                phase: Phase::Ready,
                generation: 0,
                opened: Instant::now(),
                streak: 0,
                reopened: 0,
                token: OpenToken::default(),
                last_failure: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// The token was opened for the first time.
    pub(crate) fn opened(&self, token: OpenToken) {
        let mut inner = self.lock();
        inner.token = token;
        inner.generation = inner.generation.wrapping_add(1);
        inner.opened = Instant::now();
    }

    /// The generation of the token that is opened next.
    pub(crate) fn next_generation(&self) -> u64 {
        self.lock().generation.wrapping_add(1)
    }

    /// Waits until the token serves and returns its generation; fails at once when an operator is needed, and at
    /// `deadline` with what keeps it from serving.
    pub(crate) fn wait_ready(&self, deadline: Instant) -> Result<u64, HsmError> {
        let mut inner = self.lock();
        loop {
            let error = match &inner.phase {
                Phase::Ready => return Ok(inner.generation),
                Phase::Refused(error) => return Err(error.clone()),
                Phase::Closed => return Err(HsmError::Closed),
                Phase::Down { error, .. } => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error.clone());
            }
            inner = self.wait(inner, left);
        }
    }

    /// Reports that the token of `generation` failed.
    pub(crate) fn lost(&self, generation: u64, error: &HsmError) {
        let mut inner = self.lock();
        inner.note(error);
        if inner.generation != generation || !matches!(inner.phase, Phase::Ready) {
            return;
        }
        if matches!(error, HsmError::SignatureWrong { .. } | HsmError::BadSignature { .. }) {
            tracing::error!(code = %error.code(), %error, "the token is out of service until it signs rightly again");
        } else {
            tracing::warn!(code = %error.code(), %error, "the token is lost; opening it again");
        }
        if inner.opened.elapsed() > STABLE {
            inner.streak = 0;
        }
        inner.phase = Phase::Down {
            error: error.clone(),
            attempts: 0,
            next: Instant::now() + delay(inner.streak),
        };
        inner.streak = inner.streak.saturating_add(1);
        drop(inner);
        self.changed.notify_all();
    }

    /// Notes a failure that does not put the token in doubt.
    pub(crate) fn note(&self, error: &HsmError) {
        self.lock().note(error);
    }

    /// Waits until the token is to be opened again; `false` when the pool is closed.
    pub(crate) fn wait_lost(&self) -> bool {
        let mut inner = self.lock();
        loop {
            inner = match &inner.phase {
                Phase::Closed => return false,
                Phase::Ready | Phase::Refused(_) => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Phase::Down { next, .. } => {
                    let left = next.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return true;
                    }
                    self.wait(inner, left)
                }
            };
        }
    }

    /// The token serves again.
    pub(crate) fn reopened(&self, token: OpenToken) {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Closed) {
            return;
        }
        if inner.token.facts.serial != token.facts.serial {
            tracing::warn!(
                before = inner.token.facts.serial,
                now = token.facts.serial,
                "another token has the label now"
            );
        }
        inner.phase = Phase::Ready;
        inner.generation = inner.generation.wrapping_add(1);
        inner.opened = Instant::now();
        inner.reopened = inner.reopened.saturating_add(1);
        inner.token = token;
        tracing::info!(reopened = inner.reopened, "the token serves again");
        drop(inner);
        self.changed.notify_all();
    }

    /// Too many calls hang in the module: it is asked no more until some come back.
    pub(crate) fn out_of_service(&self, error: HsmError) {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Closed | Phase::Refused(_)) {
            return;
        }
        inner.note(&error);
        tracing::error!(code = %error.code(), %error, "the token is out of service until calls into it come back");
        inner.phase = Phase::Refused(error);
        drop(inner);
        self.changed.notify_all();
    }

    /// Calls that hung have come back: a token that was out of service for them is tried again.
    pub(crate) fn freed(&self) {
        let mut inner = self.lock();
        let Phase::Refused(error @ HsmError::Stuck { .. }) = &inner.phase else {
            return;
        };
        inner.phase = Phase::Down {
            error: error.clone(),
            attempts: 0,
            next: Instant::now(),
        };
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits so long; `false` as soon as the pool is closed.
    pub(crate) fn is_open_after(&self, interval: Duration) -> bool {
        let (inner, _) = self
            .changed
            .wait_timeout_while(self.lock(), interval, |inner| !matches!(inner.phase, Phase::Closed))
            .unwrap_or_else(PoisonError::into_inner);
        !matches!(inner.phase, Phase::Closed)
    }

    /// An attempt to open it failed. Another one follows by itself, unless an operator is needed.
    pub(crate) fn not_reopened(&self, error: HsmError) {
        let mut inner = self.lock();
        inner.note(&error);
        let Phase::Down { attempts, .. } = inner.phase else {
            return;
        };
        inner.phase = if needs_operator(&error) {
            tracing::error!(code = %error.code(), %error, "the token is not tried again before a restart");
            Phase::Refused(error)
        } else {
            let attempts = attempts.saturating_add(1);
            tracing::debug!(code = %error.code(), %error, attempts, "the token is still lost");
            Phase::Down {
                error,
                attempts,
                next: Instant::now() + delay(attempts.max(inner.streak)),
            }
        };
        drop(inner);
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.changed.notify_all();
    }

    pub(crate) fn state(&self) -> State {
        match &self.lock().phase {
            Phase::Ready => State::Ready,
            Phase::Down { attempts, next, .. } => State::Reopening {
                attempts: *attempts,
                next_in: next.saturating_duration_since(Instant::now()),
            },
            Phase::Refused(error) => State::Refused { code: error.code() },
            Phase::Closed => State::Refused {
                code: HsmError::Closed.code(),
            },
        }
    }

    /// The token, how often it was opened again, and the latest failure.
    pub(crate) fn history(&self) -> (OpenToken, u64, Option<LastFailure>) {
        let inner = self.lock();
        (inner.token.clone(), inner.reopened, inner.last_failure.clone())
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, most: Duration) -> MutexGuard<'a, Inner> {
        self.changed
            .wait_timeout(inner, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, error: &HsmError) {
        self.last_failure = Some(LastFailure {
            code: error.code(),
            text: error.to_string(),
            at: SystemTime::now(),
        });
    }
}

/// Errors that trying again would make worse or cannot mend.
const fn needs_operator(error: &HsmError) -> bool {
    matches!(
        error,
        HsmError::PinWrong { .. }
            | HsmError::PinLastTry { .. }
            | HsmError::PinLocked { .. }
            | HsmError::PinUnfit { .. }
    )
}

/// None before the first attempt, then 100 ms, doubled each time.
fn delay(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        n => Duration::from_millis(100)
            .saturating_mul(1 << n.min(8).saturating_sub(1))
            .min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_is_bounded() {
        let delays: Vec<u128> = (0..9).map(|n| delay(n).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(delay(u32::MAX), MAX_DELAY);
    }

    #[test]
    fn news_about_an_earlier_opening_does_not_lose_the_present_one() {
        let health = Health::new();
        let gone = HsmError::DeviceRemoved {
            label: "t".into(),
            cause: "test".into(),
        };
        health.lost(0, &gone);
        assert!(matches!(health.state(), State::Reopening { .. }));
        health.reopened(OpenToken::default());
        health.lost(0, &gone);
        assert_eq!(health.state(), State::Ready);
        health.lost(1, &gone);
        assert!(matches!(health.state(), State::Reopening { .. }));
    }

    #[test]
    fn a_refused_pin_ends_all_attempts() {
        let health = Health::new();
        let gone = HsmError::Closed;
        health.lost(0, &gone);
        let wrong = HsmError::PinWrong { label: "t".into() };
        health.not_reopened(wrong.clone());
        assert!(matches!(health.state(), State::Refused { .. }));
        let patient = Instant::now() + Duration::from_secs(60);
        assert_eq!(health.wait_ready(patient), Err(wrong));
    }
}
