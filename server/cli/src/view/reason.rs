//! What the catalogue says of reason codes.

use hallmark_reason::Reason;
use serde::Serialize;

use crate::{
    output::Show,
    table::{columns, facts},
};

/// One code.
#[derive(Debug, Serialize)]
pub(crate) struct ReasonView {
    code: &'static str,
    meaning: &'static str,
    /// Null where the meaning says all.
    likely_cause: Option<&'static str>,
    next_step: Option<&'static str>,
}

impl From<&Reason> for ReasonView {
    fn from(reason: &Reason) -> Self {
        Self {
            code: reason.code.as_str(),
            meaning: reason.meaning,
            likely_cause: reason.likely_cause,
            next_step: reason.next_step,
        }
    }
}

impl Show for ReasonView {
    fn table(&self, _: i64) -> String {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let rest = facts(&[("  cause", text(self.likely_cause)), ("  next", text(self.next_step))]);
        format!("{}: {}\n{rest}", self.code, self.meaning)
    }
}

/// The codes that begin alike.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct ReasonsView(Vec<ReasonView>);

impl From<&[&Reason]> for ReasonsView {
    fn from(reasons: &[&Reason]) -> Self {
        Self(reasons.iter().map(|&reason| reason.into()).collect())
    }
}

impl Show for ReasonsView {
    fn table(&self, _: i64) -> String {
        let rows: Vec<[String; 2]> = self
            .0
            .iter()
            .map(|reason| [reason.code.to_owned(), reason.meaning.to_owned()])
            .collect();
        columns(["CODE", "MEANING"], &rows)
    }
}
