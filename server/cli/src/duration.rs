//! Durations as people write them.

use std::time::Duration;

/// Reads `90s`, `15m`, `1h`, `7d`, sums of them such as `1h30m`, or bare seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let wrong = || format!("{text:?} is no duration; write for example 90s, 15m, 1h30m or 7d");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let unit = after.chars().next().ok_or_else(wrong)?;
        let scale = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = after.get(unit.len_utf8()..).unwrap_or_default();
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// Reads a lifetime that fits the wire: whole seconds, at most 2^31 - 1.
pub(crate) fn parse_ttl(text: &str) -> Result<i32, String> {
    let duration = parse_duration(text)?;
    i32::try_from(duration.as_secs()).map_err(|_| format!("{text} is longer than an entry can say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5400),
            ("7d", 604_800),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "h", "1", "1x", "-1s", "1.5h", "1h30", "99999999999999999999d", "1ä"] {
            assert!(bad == "1" || parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_ttl("1h"), Ok(3600));
        assert!(parse_ttl("99999999h").is_err());
    }
}
