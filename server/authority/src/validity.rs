//! Times in certificates (RFC 5280, section 4.1.2.5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_der::{self as der, tag};
use time::OffsetDateTime;

use crate::AuthorityError;

/// How far notBefore lies in the past, in seconds, for the sake of clocks that are a little behind.
pub(crate) const BACKDATE: i64 = 10;
/// The last second that a certificate can name, 9999-12-31 23:59:59.
const END_OF_TIME: i64 = 253_402_300_799;

/// From when to when, both inclusive, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Validity {
    /// Begins shortly before `now` and lasts for `lifetime` from `now`.
    pub(crate) fn starting(now: i64, lifetime: Duration) -> Result<Self, AuthorityError> {
        let out_of_range = || AuthorityError::Lifetime { now, lifetime };
        let seconds = i64::try_from(lifetime.as_secs()).map_err(|_| out_of_range())?;
        let not_after = now
            .checked_add(seconds)
            .filter(|end| *end <= END_OF_TIME && *end > now)
            .ok_or_else(out_of_range)?;
        Ok(Self {
            not_before: now.saturating_sub(BACKDATE),
            not_after,
        })
    }

    /// No longer than `other` at either end.
    pub(crate) fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    pub(crate) fn to_der(self) -> Result<Vec<u8>, AuthorityError> {
        Ok(der::element(
            tag::SEQUENCE,
            &[&time_der(self.not_before)?, &time_der(self.not_after)?],
        ))
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix(now: SystemTime) -> Result<i64, AuthorityError> {
    now.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .filter(|seconds| *seconds <= END_OF_TIME)
        .ok_or(AuthorityError::Clock)
}

/// UTCTime through the year 2049, GeneralizedTime from 2050 on.
fn time_der(at: i64) -> Result<Vec<u8>, AuthorityError> {
    let at = OffsetDateTime::from_unix_timestamp(at).map_err(|_| AuthorityError::Clock)?;
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let month = u8::from(month);
    let (tag, year) = match year {
        1950..=2049 => (tag::UTC_TIME, format!("{:02}", year % 100)),
        _ => (tag::GENERALIZED_TIME, format!("{year:04}")),
    };
    let text = format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    Ok(der::element(tag, &[text.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_changes_with_the_year_2050() {
        let text = |at| String::from_utf8(time_der(at).unwrap()[2..].to_vec()).unwrap();
        assert_eq!(text(2_524_607_999), "491231235959Z");
        assert_eq!(text(2_524_608_000), "20500101000000Z");
        assert_eq!(text(0), "700101000000Z");
        assert_eq!(text(END_OF_TIME), "99991231235959Z");
    }

    #[test]
    fn lifetimes_that_no_certificate_can_name_are_refused() {
        assert!(Validity::starting(1000, Duration::from_secs(1)).is_ok());
        for lifetime in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            let refused = Validity::starting(1000, lifetime);
            assert!(matches!(refused, Err(AuthorityError::Lifetime { .. })), "{lifetime:?}");
        }
        assert!(Validity::starting(END_OF_TIME, Duration::from_secs(1)).is_err());
        assert!(unix(UNIX_EPOCH - Duration::from_secs(1)).is_err());
    }
}
