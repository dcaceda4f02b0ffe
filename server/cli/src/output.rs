//! The one way to stdout and stderr.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::CliError;

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Data that can be shown in every form.
pub(crate) trait Show: Serialize {
    /// The form for people. `now` is in Unix seconds, for distances in time.
    fn table(&self, now: i64) -> String;
}

/// Writes data to stdout.
pub(crate) fn show(format: Format, value: &impl Show) -> Result<(), CliError> {
    let text = match format {
        Format::Table => paint(&value.table(crate::timestamp::now())),
        Format::Json => serde_json::to_string_pretty(value).map_err(|cause| encoding(&cause))? + "\n",
        Format::Yaml => serde_saphyr::to_string(value).map_err(|cause| encoding(&cause))?,
    };
    write(&text)
}

fn encoding(cause: &dyn std::error::Error) -> CliError {
    CliError::Output(io::Error::other(cause.to_string()))
}

/// Writes text to stdout as it is.
pub(crate) fn write(text: &str) -> Result<(), CliError> {
    write_on(text).map(drop)
}

/// The same, for who would go on writing: false once nobody reads any more.
pub(crate) fn write_on(text: &str) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        // `hallmark … | head` has had enough; that is no failure.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(cause) => Err(CliError::Output(cause)),
    }
}

/// Says something to the person: stderr, so that it never mixes with data.
pub(crate) fn say(text: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Asks for a yes; only a terminal can give one.
pub(crate) fn confirm(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

const BAD: &[&str] = &["refused", "banned", "expired", "suspended", "retired", "FAILED"];
const GOOD: &[&str] = &["trusted", "active", "ok"];

/// Colours the words that carry a judgement; the words themselves say everything.
fn paint(text: &str) -> String {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { coloured(text) } else { text.to_owned() }
}

fn coloured(text: &str) -> String {
    text.split_inclusive([' ', '\n'])
        .map(|piece| {
            let word = piece.trim_end();
            let colour = match word {
                word if BAD.contains(&word) => "31",
                word if GOOD.contains(&word) => "32",
                _ => return piece.to_owned(),
            };
            let space = piece.get(word.len()..).unwrap_or_default();
            format!("\u{1b}[{colour}m{word}\u{1b}[0m{space}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_judging_words_are_coloured() {
        assert_eq!(coloured("state  active\n"), "state  \u{1b}[32mactive\u{1b}[0m\n");
        assert_eq!(coloured("a banned b"), "a \u{1b}[31mbanned\u{1b}[0m b");
        assert_eq!(coloured("inactive\n"), "inactive\n");
    }
}
