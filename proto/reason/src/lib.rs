//! The language of refusals. Every failure that a user or a node can meet has a stable code and is reported in four lines that
//! always come in the same order: code and what failed; both values compared; the likely cause; the next command.
//!
//! `reasons.toml` is the one list of the codes, with the meaning, likely cause and next step of each. It is compiled in;
//! `docs/reference/reason-codes.md` is generated from it.

mod catalogue;
mod plain_text;
mod spelling;

pub use catalogue::{Reason, catalogue, lookup};
pub use plain_text::{is_misleading, misleading};
pub use spelling::nearest;

use std::fmt;

/// A stable reason code such as `HM-VERIFY-0007`. Codes are never reused for another meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReasonCode(&'static str);

impl ReasonCode {
    /// A code from its text, which must be in the catalogue (a style test checks it).
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self(code)
    }

    /// The code's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// What the catalogue says of it.
    #[must_use]
    pub fn reason(self) -> Option<&'static Reason> {
        lookup(self.0)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error with a stable code, and what its reader can do about it.
///
/// `Display` of the error is the first line's text: what failed. Cause and next step come from the catalogue; an implementation
/// gives a text of its own only where it depends on the error's values.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> ReasonCode;

    /// The coded error that this one passes on as its own: its values, cause and next step are this error's too.
    fn inner(&self) -> Option<&dyn Coded> {
        None
    }

    /// Both values compared (expected and actual), where there were two.
    fn compared(&self) -> Option<String> {
        self.inner()?.compared()
    }

    /// The likely cause, where the error's values tell more than the catalogue.
    fn precise_cause(&self) -> Option<String> {
        None
    }

    /// The next step, where the error's values tell more than the catalogue.
    fn precise_step(&self) -> Option<String> {
        None
    }

    /// The likely cause. Not to be implemented: see [`precise_cause`](Self::precise_cause).
    fn likely_cause(&self) -> Option<String> {
        let catalogued = || match self.inner() {
            Some(inner) => inner.likely_cause(),
            None => self.code().reason()?.likely_cause.map(str::to_owned),
        };
        self.precise_cause().or_else(catalogued)
    }

    /// The next command or action. Not to be implemented: see [`precise_step`](Self::precise_step).
    fn next_step(&self) -> Option<String> {
        let catalogued = || match self.inner() {
            Some(inner) => inner.next_step(),
            None => self.code().reason()?.next_step.map(str::to_owned),
        };
        self.precise_step().or_else(catalogued)
    }
}

/// The four-line form of a coded error, for people.
pub struct Report<'a>(pub &'a dyn Coded);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code(), self.0)?;
        for (label, line) in [
            ("compared", self.0.compared()),
            ("cause", self.0.likely_cause()),
            ("next", self.0.next_step()),
        ] {
            if let Some(line) = line {
                write!(f, "\n  {label}: {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct PcrMismatch;

    impl fmt::Display for PcrMismatch {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("boot log does not reproduce PCR 4")
        }
    }

    impl std::error::Error for PcrMismatch {}

    impl Coded for PcrMismatch {
        fn code(&self) -> ReasonCode {
            ReasonCode::new("HM-TEST-0001")
        }
        fn compared(&self) -> Option<String> {
            Some("quoted 3f9a, replayed 81c2".into())
        }
        fn precise_step(&self) -> Option<String> {
            Some("hallmark node diff n-4f2".into())
        }
    }

    #[derive(Debug)]
    struct NoColon(bool);

    impl fmt::Display for NoColon {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the selector has no colon")
        }
    }

    impl std::error::Error for NoColon {}

    impl Coded for NoColon {
        fn code(&self) -> ReasonCode {
            ReasonCode::new("HM-ID-0020")
        }
        fn inner(&self) -> Option<&dyn Coded> {
            self.0.then_some(&PcrMismatch)
        }
    }

    #[test]
    fn cause_and_next_step_are_the_catalogues_or_those_of_the_inner_error() {
        assert_eq!(
            Report(&NoColon(false)).to_string(),
            "HM-ID-0020: the selector has no colon\n  cause: only a value was given\n  next: write selectors as type:value, for example \
             unix:uid:1000"
        );
        let passed_on = Report(&NoColon(true)).to_string();
        assert!(
            passed_on.ends_with("compared: quoted 3f9a, replayed 81c2\n  next: hallmark node diff n-4f2"),
            "{passed_on}"
        );
    }

    #[test]
    fn a_report_keeps_the_order_and_leaves_out_what_is_unknown() {
        assert_eq!(
            Report(&PcrMismatch).to_string(),
            "HM-TEST-0001: boot log does not reproduce PCR 4\n  compared: quoted 3f9a, replayed 81c2\n  next: hallmark node diff n-4f2"
        );
    }
}
