//! Durations on the command line.

use std::time::Duration;

use hallmark_settings::InvalidDuration;

/// Reads `90s`, `15m`, `1h30m`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    hallmark_settings::parse_duration(text)
}

/// Reads a lifetime that fits the wire: whole seconds, at most 2^31 - 1; `0` is the server's default.
pub(crate) fn parse_ttl(text: &str) -> Result<i32, String> {
    if text == "0" {
        return Ok(0);
    }
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    i32::try_from(duration.as_secs()).map_err(|_| format!("{text} is longer than an entry can say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_duration_or_zero_for_the_default() {
        assert_eq!(parse_ttl("0"), Ok(0));
        assert_eq!(parse_ttl("1h"), Ok(3600));
        assert!(
            parse_ttl("30000d")
                .unwrap_err()
                .contains("longer than an entry can say")
        );
        assert_eq!(
            parse_ttl("3600").unwrap_err(),
            "invalid duration \"3600\"; examples: 90s, 15m, 1h30m, 7d"
        );
    }
}
