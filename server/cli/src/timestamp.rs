//! Points in time, as programs and as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since the Unix epoch, now.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC; `None` for 0, which the wire uses for "not set", and for times beyond the calendar.
pub(crate) fn rfc3339(seconds: i64) -> Option<String> {
    if seconds == 0 {
        return None;
    }
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// Reads RFC 3339.
pub(crate) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| format!("invalid time {text:?}; example: 2027-01-31T12:00:00Z"))
}

/// For tables: the time, and how far it is from `now`.
pub(crate) fn told(seconds: i64, now: i64) -> String {
    rfc3339(seconds).map_or_else(|| "-".into(), |text| format!("{text} ({})", distance(seconds, now)))
}

/// `in 43 min`, `2 h ago`.
pub(crate) fn distance(seconds: i64, now: i64) -> String {
    let apart = seconds.abs_diff(now);
    let amount = match apart {
        0..=119 => format!("{apart} s"),
        120..=7_199 => format!("{} min", apart / 60),
        7_200..=172_799 => format!("{} h", apart / 3600),
        _ => format!("{} d", apart / 86_400),
    };
    if seconds > now {
        format!("in {amount}")
    } else {
        format!("{amount} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_read_back() {
        let text = rfc3339(1_795_392_000).unwrap();
        assert_eq!(text, "2026-11-23T00:00:00Z");
        assert_eq!(parse_rfc3339(&text), Ok(1_795_392_000));
        assert_eq!(parse_rfc3339("2026-11-23T01:00:00+01:00"), Ok(1_795_392_000));
        assert_eq!(rfc3339(0), None);
        assert_eq!(rfc3339(i64::MAX), None);
        assert!(parse_rfc3339("tomorrow").is_err());
    }

    #[test]
    fn distances_are_told() {
        for (at, told) in [
            (1000, "0 s ago"),
            (1043, "in 43 s"),
            (3580, "in 43 min"),
            (-10_000, "3 h ago"),
        ] {
            assert_eq!(distance(at, 1000), told);
        }
        assert_eq!(distance(1000 + 5 * 86_400, 1000), "in 5 d");
    }
}
