//! How far an authority is through its life.

use std::time::Duration;

use crate::X509Authority;

/// How far an authority is through its life, which is its certificate's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// Less than half of its life has passed.
    Young,
    /// Half of its life has passed.
    Half,
    /// Five sixths of its life have passed.
    FiveSixths,
    /// Less than one lifetime of SVIDs is left: they are cut short, as none outlives the authority.
    LastLifetime,
    /// It has ended.
    Ended,
}

impl Age {
    /// The age at `now` of what is valid from `not_before` to `not_after`, all in seconds since the Unix epoch, and issues
    /// SVIDs that live for `svid`.
    #[must_use]
    pub fn of(not_before: i64, not_after: i64, svid: Duration, now: i64) -> Self {
        let life = i128::from(not_after) - i128::from(not_before);
        let passed = i128::from(now) - i128::from(not_before);
        let left = i128::from(not_after) - i128::from(now);
        if left <= 0 {
            Self::Ended
        } else if left < i128::from(svid.as_secs()) {
            Self::LastLifetime
        } else if passed * 6 >= life * 5 {
            Self::FiveSixths
        } else if passed * 2 >= life {
            Self::Half
        } else {
            Self::Young
        }
    }
}

impl X509Authority {
    /// Its age at `now`, in seconds since the Unix epoch, when its SVIDs live for `svid`.
    #[must_use]
    pub fn age(&self, svid: Duration, now: i64) -> Age {
        Age::of(self.not_before(), self.not_after(), svid, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_age_begins_at_its_second() {
        let at = |now| Age::of(1000, 13_000, Duration::from_secs(600), now);
        for (now, age) in [
            (0, Age::Young),
            (1000, Age::Young),
            (6999, Age::Young),
            (7000, Age::Half),
            (10_999, Age::Half),
            (11_000, Age::FiveSixths),
            (12_400, Age::FiveSixths),
            (12_401, Age::LastLifetime),
            (12_999, Age::LastLifetime),
            (13_000, Age::Ended),
            (i64::MAX, Age::Ended),
            (i64::MIN, Age::Young),
        ] {
            assert_eq!(at(now), age, "{now}");
        }
        // Where SVIDs may live as long as the authority, the last lifetime is all there is.
        assert_eq!(Age::of(0, 100, Duration::from_secs(200), 1), Age::LastLifetime);
    }
}
