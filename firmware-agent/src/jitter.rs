//! Moments that must not be the same for a whole fleet.

use std::time::{Duration, SystemTime};

/// Source of spread.
pub(crate) struct Jitter;

impl Jitter {
    /// When to renew what is valid from `from` to `to`: at 45 to 55 % of that time.
    pub(crate) fn renewal(from: SystemTime, to: SystemTime) -> SystemTime {
        let life = to.duration_since(from).unwrap_or_default();
        from + life.mul_f64(0.45 + 0.10 * Self::fraction())
    }

    /// `pause`, a quarter more or less.
    pub(crate) fn around(pause: Duration) -> Duration {
        pause.mul_f64(0.75 + 0.5 * Self::fraction())
    }

    /// From 0 to 1. Without randomness everything happens in the middle.
    fn fraction() -> f64 {
        let mut bytes = [0; 4];
        match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
            Err(_) => 0.5,
        }
    }
}

/// The least pause where what there is ends soon.
const LEAST: Duration = Duration::from_secs(1);

/// A pause before the next attempt to replace what is valid for another `left`: while there is time, not so long that it would end
/// unseen. One that has ended, or that there never was, waits as long as any.
pub(crate) fn pause_before_end(pause: Duration, left: Option<Duration>) -> Duration {
    left.map_or(pause, |left| pause.min(left / 4).max(LEAST.min(pause)))
}

/// Pauses that double up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            next: first,
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// The same, where what is to be replaced is valid for another `left`: attempts that come sooner for that
    /// ([`pause_before_end`]) do not make the next pause longer.
    pub(crate) fn pause_with(&mut self, left: Option<Duration>) -> Duration {
        if pause_before_end(self.next, left) < self.next {
            return Jitter::around(self.next);
        }
        self.pause()
    }

    /// The next pause, jittered.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.limit);
        Jitter::around(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_tried_for_more_often() {
        let seconds = Duration::from_secs;
        for (pause, left, expected) in [
            (20, None, 20),
            (20, Some(3600), 20),
            (20, Some(80), 20),
            (20, Some(40), 10),
            (20, Some(8), 2),
            (20, Some(1), 1),
            (20, Some(0), 1),
        ] {
            assert_eq!(
                pause_before_end(seconds(pause), left.map(seconds)),
                seconds(expected),
                "{left:?}"
            );
        }
        // And however often that is, what comes behind the end waits no longer for it.
        let mut backoff = Backoff::new(seconds(5), seconds(300));
        for left in [12, 9, 7, 5, 4, 3, 2, 1, 0] {
            assert!(backoff.pause_with(Some(seconds(left))) < seconds(7));
        }
        let behind: Vec<f64> = (0..3).map(|_| backoff.pause_with(None).as_secs_f64()).collect();
        assert!(
            (3.7..6.3).contains(&behind[0]) && (7.4..12.6).contains(&behind[1]),
            "{behind:?}"
        );
        assert!((14.9..25.1).contains(&behind[2]), "the control: {behind:?}");
        let short = Duration::from_millis(300);
        assert_eq!(pause_before_end(short, Some(seconds(1))), Duration::from_millis(300));
    }

    #[test]
    fn renewal_is_between_45_and_55_percent() {
        let from = SystemTime::UNIX_EPOCH;
        let to = from + Duration::from_secs(1000);
        let moments: Vec<u64> = (0..200)
            .map(|_| Jitter::renewal(from, to).duration_since(from).unwrap().as_secs())
            .collect();
        assert!(moments.iter().all(|at| (449..=550).contains(at)), "{moments:?}");
        assert!(moments.iter().any(|at| *at < 490) && moments.iter().any(|at| *at > 510));
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let pauses: Vec<f64> = (0..6).map(|_| backoff.pause().as_secs_f64()).collect();
        assert!(pauses[0] <= 1.25 && pauses[5] <= 10.0 && pauses[5] >= 6.0, "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause().as_secs_f64() <= 1.25);
    }
}
