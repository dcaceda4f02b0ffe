//! How an event looks as text: its message and fields in one line, and of a coded fault the four lines that people know.

use std::fmt::{self, Debug};

use crate::printable;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// Formats fields as text. Whatever they hold, an event is never taken for several.
pub(super) struct Lines;

impl<'writer> FormatFields<'writer> for Lines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut seen = Seen::default();
        fields.record(&mut seen);
        writer.write_str(&seen.first_line())?;
        for (label, text) in [("compared", seen.compared), ("cause", seen.cause), ("next", seen.next)] {
            if let Some(text) = text {
                write!(writer, "\n  {label}: {text}")?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Seen {
    message: String,
    code: Option<String>,
    compared: Option<String>,
    cause: Option<String>,
    next: Option<String>,
    others: String,
}

impl Seen {
    fn first_line(&self) -> String {
        let mut line = String::new();
        if let Some(code) = &self.code {
            line.push_str(code);
            line.push_str(if self.message.is_empty() { "" } else { ": " });
        }
        line.push_str(&self.message);
        line.push_str(&self.others);
        line
    }

    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "code" => self.code = Some(text),
            "compared" => self.compared = Some(text),
            "cause" => self.cause = Some(text),
            "next" => self.next = Some(text),
            // Said by the line's beginning already.
            name if name.starts_with("log.") => {}
            name => {
                let space = if self.others.is_empty() && self.message.is_empty() && self.code.is_none() {
                    ""
                } else {
                    " "
                };
                self.others.push_str(&format!("{space}{name}={text}"));
            }
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_prose = matches!(field.name(), "message" | "code" | "compared" | "cause" | "next");
        let text = if is_prose {
            printable(value)
        } else {
            format!("{value:?}")
        };
        self.take(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, printable(&format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of an event, behind its time, level and target.
    fn written(event: impl FnOnce()) -> String {
        let written = Written::default();
        let to = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(Lines)
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_coded_fault_is_told_in_its_four_lines() {
        let text = written(|| {
            tracing::error!(
                code = "HM-TEST-0001",
                compared = Some("1, 2"),
                cause = None::<&str>,
                next = "do it",
                count = 3,
                "no"
            );
        });
        assert_eq!(text, "HM-TEST-0001: no count=3\n  compared: 1, 2\n  next: do it\n");
    }

    #[test]
    fn what_somebody_else_wrote_makes_no_lines_of_its_own() {
        let forged = "x\n2026 ERROR forged\u{1b}[2J\u{202e}";
        let text = written(|| tracing::info!(%forged, quoted = forged, compared = %forged, "said {forged}"));
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(
            !text.contains(['\u{1b}', '\u{202e}']) && text.contains("said x\\n2026"),
            "{text:?}"
        );
        assert_eq!(written(|| tracing::info!(a = 1, b = "c")), "a=1 b=\"c\"\n");
    }
}
