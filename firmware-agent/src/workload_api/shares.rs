//! How much of the serving thread one user takes with what is no call.
//!
//! HTTP/2 lets a client send frames that cost work and belong to no call: PINGs, SETTINGS, window updates. An honest client
//! sends a few with each call, and a PING now and then. Whoever sends more is read more slowly: all connections of its user
//! wait until that has earned more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hallmark_unix::Tally;

/// What a user may have saved, in frames.
const MOST: i64 = 4000;
/// What a user earns in a second: a thousand idle connections with a PING every ten, twice over.
const EACH_SECOND: i64 = 200;
/// What a user earns with a call: its answer's window updates, and the PINGs by which clients measure a connection.
const EACH_CALL: i64 = 8;

/// The shares of all users that have a connection.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<u32, Weak<Share>>>);

impl Shares {
    /// The share of a user, whom its subordinate users count as.
    pub(super) fn of(&self, user: u32) -> Arc<Share> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&user).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Share(Mutex::new((MOST, Instant::now()))));
        shares.insert(user, Arc::downgrade(&share));
        share
    }
}

/// What one user has saved, and up to when it was counted.
#[derive(Debug)]
pub(super) struct Share(Mutex<(i64, Instant)>);

impl Share {
    /// Counts what came.
    pub(super) fn spend(&self, tally: Tally) {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        share.0 = share.0 + EACH_CALL * i64::from(tally.calls) - i64::from(tally.others);
        share.0 = share.0.min(MOST);
    }

    /// How long the user has to wait now before more is read; `None` where it has something left.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, counted) = *share;
        if left > 0 {
            return None;
        }
        let millis = i64::try_from(now.saturating_duration_since(counted).as_millis()).unwrap_or(i64::MAX);
        // What was earned before, and not needed, was never more than can be saved.
        let earned = (millis.saturating_mul(EACH_SECOND) / 1000).min(MOST);
        *share = (left + earned, now);
        let missing = 1 - share.0;
        (missing > 0).then(|| {
            let millis = (missing * 1000 / EACH_SECOND).max(10);
            Duration::from_millis(millis.unsigned_abs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINGS: Tally = Tally { calls: 0, others: 500 };

    #[test]
    fn who_sends_nothing_but_pings_waits_and_who_calls_does_not() {
        let shares = Shares::default();
        let (share, start) = (shares.of(1), Instant::now());
        for _ in 0..8 {
            assert_eq!(share.wait(start), None);
            share.spend(PINGS);
        }
        // Just used up.
        let wait = share.wait(start).unwrap();
        assert!(wait <= Duration::from_millis(10), "{wait:?}");
        share.spend(PINGS);
        let wait = shares.of(1).wait(start).unwrap();
        assert!(
            wait > Duration::from_secs(2) && wait < Duration::from_secs(3),
            "{wait:?}"
        );
        assert_eq!(share.wait(start + wait), None, "it has waited");
        assert_eq!(shares.of(2).wait(start), None, "another user has its own");

        let caller = shares.of(3);
        for _ in 0..10_000 {
            caller.spend(Tally { calls: 1, others: 4 });
            assert_eq!(caller.wait(start), None);
        }
        caller.spend(Tally { calls: 0, others: 4000 });
        assert!(caller.wait(start).is_some(), "no more is saved than that");
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let shares = Shares::default();
        for user in 0..100 {
            drop(shares.of(user));
        }
        assert!(shares.0.lock().unwrap().len() <= 1);
    }
}
