//! The language of refusals. Every failure that a user or a node can meet has a stable code, kept in
//! `docs/reference/reason-codes.md`, and is told in four lines that always come in the same order:
//! code and what failed; both values compared; the likely cause; the next command.

mod spelling;

pub use spelling::nearest;

use std::fmt;

/// A stable reason code such as `HM-VERIFY-0007`. Codes are never reused for another meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReasonCode(&'static str);

impl ReasonCode {
    /// A code from its text, which must stand in the golden file (a style test checks it).
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self(code)
    }

    /// The code's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
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
/// `Display` of the error is the first line's text: what failed.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> ReasonCode;

    /// Both values compared (expected and actual), where there were two.
    fn compared(&self) -> Option<String> {
        None
    }

    /// The likely cause, in the operator's words.
    fn likely_cause(&self) -> Option<String> {
        None
    }

    /// The next command or action.
    fn next_step(&self) -> Option<String> {
        None
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
        fn next_step(&self) -> Option<String> {
            Some("hallmark node diff n-4f2".into())
        }
    }

    #[test]
    fn a_report_keeps_the_order_and_leaves_out_what_is_unknown() {
        assert_eq!(
            Report(&PcrMismatch).to_string(),
            "HM-TEST-0001: boot log does not reproduce PCR 4\n  compared: quoted 3f9a, replayed 81c2\n  next: hallmark node diff n-4f2"
        );
    }
}
