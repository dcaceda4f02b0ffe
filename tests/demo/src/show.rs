//! How the demo looks. Colour on a terminal only, and not where NO_COLOR is set.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

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
        println!("  {} {value}", self.paint("2", &format!("{name:<22}")));
    }

    /// One link of the chain of proof.
    pub(crate) fn link(&self, name: &str, value: &str, proves: &str) {
        println!(
            "  {} {} {value}",
            self.paint("32", "✓"),
            self.paint("1", &format!("{name:<22}"))
        );
        if !proves.is_empty() {
            println!("    {:<22} {}", "", self.paint("2", proves));
        }
    }

    /// A further line of the link above.
    pub(crate) fn more(&self, value: &str) {
        println!("    {:<22} {value}", "");
    }

    /// A refusal, as it should be.
    pub(crate) fn refused(&self, name: &str, value: &str) {
        println!(
            "  {} {} {value}",
            self.paint("33", "✗"),
            self.paint("1", &format!("{name:<22}"))
        );
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
