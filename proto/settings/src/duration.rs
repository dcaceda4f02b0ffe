//! Durations as people write them.

use std::time::Duration;

/// The longest duration, a hundred years, in seconds: no date of a certificate is behind it.
const MAX_SECONDS: u64 = 3_155_760_000;

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Another form.
    #[error("invalid duration {0:?}; examples: 90s, 15m, 1h30m, 7d")]
    Form(String),
    /// Nothing takes no time.
    #[error("invalid duration {0:?}: it must not be zero")]
    Zero(String),
    /// More than a hundred years.
    #[error("invalid duration {0:?}: it is longer than a hundred years")]
    TooLong(String),
}

/// Reads a duration: whole numbers with `s`, `m`, `h` or `d`, one after the other (`1h30m`); not zero, at most a hundred years.
///
/// # Errors
/// [`InvalidDuration`], with examples.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let form = || InvalidDuration::Form(text.to_owned());
    let (mut seconds, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
        let (number, behind) = rest.split_at(digits);
        let mut behind = behind.chars();
        let unit = match behind.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(form()),
        };
        if number.is_empty() {
            return Err(form());
        }
        let too_long = || InvalidDuration::TooLong(text.to_owned());
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(too_long)?;
        rest = behind.as_str();
    }
    match seconds {
        _ if text.is_empty() => Err(form()),
        0 => Err(InvalidDuration::Zero(text.to_owned())),
        1..=MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(InvalidDuration::TooLong(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("1s", 1),
            ("90m", 5400),
            ("1h30m", 5400),
            ("8760h", 31_536_000),
            ("1d", 86_400),
            ("36525d", MAX_SECONDS),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_told_with_examples() {
        for text in ["", "1", "h", "1 h", "-1h", "1.5h", "1w", "1h30", "101y", "1ä", "soon"] {
            let expected = format!("invalid duration {text:?}; examples: 90s, 15m, 1h30m, 7d");
            assert_eq!(parse_duration(text).unwrap_err().to_string(), expected);
        }
        for text in ["0s", "0h0m"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::Zero(text.into())));
        }
        for text in ["40000d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                parse_duration(text),
                Err(InvalidDuration::TooLong(text.into())),
                "{text}"
            );
        }
    }
}
