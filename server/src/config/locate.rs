//! From the reader's complaint to a coded error with a line.

use std::path::Path;

use super::ConfigError;

/// The error for what the TOML reader said about `text`, the content of `path`.
pub(super) fn locate(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let line = 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let path = path.to_owned();
    let message = error.message();
    if let Some((key, known)) = unknown_field(message) {
        return ConfigError::UnknownKey { path, line, key, known };
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return ConfigError::MissingKey {
            path,
            line,
            key: key.trim_matches('`').to_owned(),
        };
    }
    ConfigError::Invalid {
        path,
        line,
        message: message.trim_end().to_owned(),
    }
}

/// serde's words: "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    // Between back-quotes lies every second piece.
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}
