//! The one way to stdout and stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    marker::PhantomData,
};

use clap::ValueEnum;
use serde::Serialize;

use crate::{error::CliError, table::Columns};

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

/// An item of a list.
pub(crate) trait Row<const N: usize>: Serialize {
    /// What stands above the columns.
    const HEADINGS: [&'static str; N];

    /// The item for people.
    fn cells(&self) -> [String; N];
}

/// Writes a list to stdout as its parts come, in the form in which [`show`] would write it whole.
pub(crate) struct ListWriter<R, const N: usize> {
    format: Format,
    columns: Columns<N>,
    is_empty: bool,
    of: PhantomData<R>,
}

impl<R: Row<N>, const N: usize> ListWriter<R, N> {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            columns: Columns::new(R::HEADINGS),
            is_empty: true,
            of: PhantomData,
        }
    }

    /// The next items. False once nobody reads any more.
    pub(crate) fn write(&mut self, items: &[R]) -> Result<bool, CliError> {
        let text = self.text(items)?;
        self.is_empty &= items.is_empty();
        write_on(&text)
    }

    /// After the last item.
    pub(crate) fn end(self) -> Result<(), CliError> {
        write(match (self.format, self.is_empty) {
            (Format::Table, _) | (Format::Yaml, false) => "",
            (Format::Json, false) => "\n]\n",
            (Format::Json | Format::Yaml, true) => "[]\n",
        })
    }

    fn text(&mut self, items: &[R]) -> Result<String, CliError> {
        if self.format == Format::Table {
            let cells: Vec<_> = items.iter().map(Row::cells).collect();
            return Ok(paint(&self.columns.next(&cells)));
        }
        if items.is_empty() {
            return Ok(String::new());
        }
        if self.format == Format::Yaml {
            return serde_saphyr::to_string(&items).map_err(|cause| encoding(&cause));
        }
        let list = serde_json::to_string_pretty(items).map_err(|cause| encoding(&cause))?;
        // Between its brackets each on a line of its own.
        let inner = list.strip_prefix("[\n").and_then(|rest| rest.strip_suffix("\n]"));
        let inner = inner.unwrap_or(&list);
        Ok(format!("{}{inner}", if self.is_empty { "[\n" } else { ",\n" }))
    }
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

/// Tells warnings to the person.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        say(&format!("warning: {}", hallmark_host::printable(warning)));
    }
}

/// Says something to the person: stderr, so that it never mixes with data.
pub(crate) fn say(text: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{}", hallmark_host::printable_lines(text));
}

/// Whether what is said appears on a terminal.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Says something in place of what was said so before; nothing clears it. Only for a terminal.
pub(crate) fn say_in_place(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "\r\u{1b}[K{}", hallmark_host::printable(text)).and_then(|()| stderr.flush());
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

/// Colours the words that carry a verdict; the words themselves say everything.
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

    #[derive(Serialize)]
    struct Named {
        name: String,
        list: Vec<u8>,
    }

    impl Row<1> for Named {
        const HEADINGS: [&'static str; 1] = ["NAME"];

        fn cells(&self) -> [String; 1] {
            [self.name.clone()]
        }
    }

    #[test]
    fn a_list_in_parts_is_the_list() {
        let named = |name: &str| Named {
            name: name.into(),
            list: vec![1],
        };
        let all = [named("a"), named("bcdef"), named("[\n")];
        let whole = serde_json::to_string_pretty(&all).unwrap();
        let mut list = ListWriter::<Named, _>::new(Format::Json);
        let mut text = String::new();
        for part in [&all[..0], &all[..1], &all[1..]] {
            text += &list.text(part).unwrap();
            list.is_empty &= part.is_empty();
        }
        assert_eq!(text + "\n]", whole);
        let mut list = ListWriter::<Named, _>::new(Format::Yaml);
        let parts = list.text(&all[..1]).unwrap() + &list.text(&all[1..]).unwrap();
        assert_eq!(parts, serde_saphyr::to_string(&all.as_slice()).unwrap());
        let mut list = ListWriter::<Named, _>::new(Format::Table);
        let parts = list.text(&all[..1]).unwrap() + &list.text(&all[1..2]).unwrap();
        assert_eq!(parts, "NAME\na\nbcdef\n");
    }

    #[test]
    fn only_judging_words_are_coloured() {
        assert_eq!(coloured("state  active\n"), "state  \u{1b}[32mactive\u{1b}[0m\n");
        assert_eq!(coloured("a banned b"), "a \u{1b}[31mbanned\u{1b}[0m b");
        assert_eq!(coloured("inactive\n"), "inactive\n");
    }
}
