//! Parts of a program, and how each is doing.

use hallmark_reason::{Coded, ReasonCode};
use serde::{Deserialize, Serialize};

/// How a part is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does its work.
    Ok,
    /// It does its work, and will not for long, or not as well as it should.
    Warning,
    /// It does not do its work.
    Failed,
}

/// One part of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, one of few.
    pub name: String,
    /// How it is doing.
    pub state: State,
    /// The reason's code where it is not well; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Part {
    /// A part that is well.
    #[must_use]
    pub fn good(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Ok,
            code: String::new(),
            message: String::new(),
        }
    }

    /// A part in another state, and why.
    #[must_use]
    pub fn with_reason(name: &str, state: State, code: ReasonCode, message: String) -> Self {
        Self {
            name: name.to_owned(),
            state,
            code: code.to_string(),
            message,
        }
    }

    /// A part that failed with an error, or is well without one.
    #[must_use]
    pub fn of(name: &str, failure: Option<&impl Coded>) -> Self {
        failure.map_or_else(
            || Self::good(name),
            |error| Self::with_reason(name, State::Failed, error.code(), error.to_string()),
        )
    }

    /// Whether it does its work.
    #[must_use]
    pub fn works(&self) -> bool {
        self.state != State::Failed
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
        };
        write!(f, "{} {state}", self.name)?;
        for words in [&self.code, &self.message] {
            if !words.is_empty() {
                write!(f, " {words}")?;
            }
        }
        Ok(())
    }
}

/// Every part of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether every part does its work.
    pub ok: bool,
    /// The parts.
    pub parts: Vec<Part>,
}

impl Report {
    /// A report on these parts.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self {
            ok: parts.iter().all(Part::works),
            parts,
        }
    }

    /// The parts that do not do their work, in words.
    #[must_use]
    pub fn failures(&self) -> String {
        let failed: Vec<_> = self
            .parts
            .iter()
            .filter(|part| !part.works())
            .map(Part::to_string)
            .collect();
        failed.join("; ")
    }
}
