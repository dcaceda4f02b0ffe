//! How the demo looks. Colour on a terminal only, and not where NO_COLOR is set.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// How wide the page is.
const COLUMNS: usize = 100;
/// How wide the names of values are.
const NAME: usize = 22;

/// A text in lines of at most `width` characters: cut between words, or within one that is longer.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let space = rest.iter().take(width + 1).rposition(|c| *c == ' ');
        let cut = space.filter(|at| *at > width / 2).unwrap_or(width);
        let after = rest.split_off(cut);
        lines.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = after.into_iter().skip_while(|c| *c == ' ').collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

/// The demo's page.
pub(crate) struct Show {
    colour: bool,
}

impl Show {
    pub(crate) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: std::io::stdout().is_terminal() && !plain,
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A new part of the story.
    pub(crate) fn step(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// One value.
    pub(crate) fn value(&self, name: &str, value: &str) {
        let mut lines = folded(value, COLUMNS - NAME - 3).into_iter();
        let first = lines.next().unwrap_or_default();
        println!("  {} {first}", self.paint("2", &format!("{name:<NAME$}")));
        lines.for_each(|line| println!("  {:<NAME$} {line}", ""));
    }

    /// One link of the chain of proof.
    pub(crate) fn link(&self, name: &str, value: &str, proves: &str) {
        self.signed("32", "✓", name, value);
        if !proves.is_empty() {
            println!("    {:<NAME$} {}", "", self.paint("2", proves));
        }
    }

    /// A further line of the link above.
    pub(crate) fn more(&self, value: &str) {
        for line in folded(value, COLUMNS - NAME - 5) {
            println!("    {:<NAME$} {line}", "");
        }
    }

    /// A refusal, as it should be.
    pub(crate) fn refused(&self, name: &str, value: &str) {
        self.signed("33", "✗", name, value);
    }

    fn signed(&self, colour: &str, sign: &str, name: &str, value: &str) {
        let mut lines = folded(value, COLUMNS - NAME - 5).into_iter();
        let first = lines.next().unwrap_or_default();
        println!(
            "  {} {} {first}",
            self.paint(colour, sign),
            self.paint("1", &format!("{name:<NAME$}"))
        );
        lines.for_each(|line| println!("    {:<NAME$} {line}", ""));
    }

    /// A command as an operator types it, and what it prints.
    pub(crate) fn command(&self, line: &str, printed: &str) {
        println!("  {}", self.paint("1", &format!("$ {line}")));
        for line in printed.lines().flat_map(|line| folded(line, COLUMNS - 4)) {
            println!("    {line}");
        }
    }

    /// Runs something and says how long it took.
    pub(crate) fn timed<T>(&self, what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        if self.colour {
            print!("  … {what}\r");
            let _ = std::io::stdout().flush();
        }
        let outcome = work()?;
        println!(
            "  {} {what} {}",
            self.paint("32", "✓"),
            self.paint("2", &format!("({} ms)", start.elapsed().as_millis()))
        );
        Ok(outcome)
    }

    /// The end.
    pub(crate) fn done(&self, text: &str) {
        println!("\n{}", self.paint("1;32", text));
    }

    /// The end, badly.
    pub(crate) fn failed(&self, text: &str) {
        println!("\n{} {text}", self.paint("1;31", "demo failed:"));
    }
}

/// A time in RFC 3339, UTC.
pub(crate) fn rfc3339(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_lose_nothing() {
        assert_eq!(folded("short", 10), ["short"]);
        assert_eq!(folded("some words that wrap", 11), ["some words", "that wrap"]);
        assert_eq!(
            folded(&"x".repeat(25), 10),
            ["x".repeat(10), "x".repeat(10), "x".repeat(5)]
        );
        assert_eq!(folded("", 10), [""]);
    }
}
