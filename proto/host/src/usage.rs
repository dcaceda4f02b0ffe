//! A command line that is not understood, told as every other failure is.

use std::ffi::OsString;

use clap::{Parser, error::ErrorKind};
use hallmark_reason::{Coded, ReasonCode};

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for, and has been printed.
    Answered,
    /// Too little was typed; the help has been printed.
    Helped,
    /// The command line is not understood.
    Wrong(WrongUsage),
}

/// A command line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct WrongUsage {
    what: String,
    values: String,
    tip: Option<String>,
    command: String,
}

/// Reads a command line; the first of `arguments` is the program's name.
///
/// # Errors
/// [`Stop`] when it holds nothing to do.
pub fn read<P: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<P, Stop> {
    P::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away has no use for it.
            let _ = error.print();
            Stop::Answered
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Stop::Helped
        }
        _ => Stop::Wrong(WrongUsage::of(&error.render().to_string(), P::command().get_name())),
    })
}

impl WrongUsage {
    /// What clap says: a first paragraph, tips, the command's usage, and where there is help.
    fn of(said: &str, program: &str) -> Self {
        let mut first = said.lines().take_while(|line| !line.trim().is_empty());
        let what = first.next().unwrap_or_default();
        let more: Vec<&str> = first.map(str::trim).collect();
        let find = |begin: &str| said.lines().find_map(|line| line.trim().strip_prefix(begin));
        let usage = find("Usage: ");
        let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
        let command: Vec<&str> = usage
            .unwrap_or(program)
            .split_whitespace()
            .take_while(is_word)
            .collect();
        let values = match (more.is_empty(), usage) {
            (false, _) => more.join(" "),
            (true, Some(usage)) => format!("usage: {usage}"),
            (true, None) => "the value is of another form".to_owned(),
        };
        Self {
            what: what.strip_prefix("error: ").unwrap_or(what).to_owned(),
            values,
            tip: find("tip: ").map(str::to_owned),
            command: command.join(" "),
        }
    }
}

impl Coded for WrongUsage {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-CLI-0021")
    }

    fn compared(&self) -> Option<String> {
        Some(self.values.clone())
    }

    fn precise_cause(&self) -> Option<String> {
        self.tip.clone()
    }

    fn precise_step(&self) -> Option<String> {
        Some(format!("{} --help", self.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Report;

    #[derive(Debug, Parser)]
    #[command(name = "tool")]
    struct Tool {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        Show {
            #[arg(long, value_parser = clap::value_parser!(u8))]
            count: Option<u8>,
            #[arg(long, required = true)]
            name: String,
        },
    }

    fn told(line: &str) -> String {
        match read::<Tool>(line.split(' ').map(OsString::from)) {
            Err(Stop::Wrong(wrong)) => Report(&wrong).to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_comes_in_four_lines() {
        for (line, what, next) in [
            (
                "tool show --nam x",
                "unexpected argument '--nam' found",
                "tool show --help",
            ),
            ("tool show", "the following required arguments", "tool show --help"),
            (
                "tool show --name x --count 300",
                "invalid value '300' for '--count",
                "tool --help",
            ),
            ("tool shw", "unrecognized subcommand 'shw'", "tool --help"),
        ] {
            let told = told(line);
            let lines: Vec<&str> = told.lines().collect();
            assert_eq!(lines.len(), 4, "{line}: {told}");
            assert!(lines[0].starts_with(&format!("HM-CLI-0021: {what}")), "{told}");
            assert!(
                lines[1].starts_with("  compared: ") && lines[2].starts_with("  cause: "),
                "{told}"
            );
            assert_eq!(lines[3], format!("  next: {next}"), "{told}");
        }
        assert!(told("tool show --name x").starts_with("Ok("));
    }
}
