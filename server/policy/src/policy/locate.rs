//! From the reader's complaint to an error with line and key.

use super::PolicyError;

/// The error for what the TOML reader said about `text`, the content of `file`.
pub(super) fn locate(file: &str, text: &str, error: &toml::de::Error) -> PolicyError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let file = file.to_owned();
    let message = error.message();
    if let Some((key, known)) = unknown_field(message) {
        return PolicyError::UnknownKey { file, line, key, known };
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        let key = key.trim_matches('`').to_owned();
        return PolicyError::MissingKey { file, line, key };
    }
    PolicyError::Invalid {
        file,
        line,
        key: key_at(text, line),
        message: message.trim_end().to_owned(),
    }
}

/// The line, from 1, at which a table begins.
pub(super) fn line_of(text: &str, table: &str) -> usize {
    1 + text
        .lines()
        .position(|line| line.trim_start().starts_with(table))
        .unwrap_or(0)
}

/// serde's words: "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    // Between back-quotes lies every second piece.
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// The key that line `line` (from 1) belongs to, with its table: the last one that begins there or before.
fn key_at(text: &str, line: usize) -> String {
    let (mut table, mut key) = ("", "");
    for line in text.lines().take(line).map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if is_key(name.0) {
                (table, key) = (name.0, "");
            }
        } else if let Some((name, _)) = line.split_once('=').filter(|(name, _)| is_key(name.trim())) {
            key = name.trim();
        }
    }
    match (table, key) {
        ("", key) => key.to_owned(),
        (table, "") => table.to_owned(),
        (table, key) => format!("{table}.{key}"),
    }
}

fn is_key(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"');
    !name.is_empty() && !name.starts_with('"') && name.chars().all(plain)
        || name.trim_matches('"').parse::<u8>().is_ok()
}
