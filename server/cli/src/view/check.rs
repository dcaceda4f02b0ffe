//! Findings of `doctor` and of `config check`.

use serde::Serialize;

use crate::output::Show;
use hallmark_host::printable;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) found: String,
    /// What to do, when not ok, or not for long.
    pub(crate) next: Option<String>,
}

impl Check {
    pub(crate) fn good(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: true,
            found: found.into(),
            next: None,
        }
    }

    /// All is well, and there is something to do in good time.
    pub(crate) fn warning(name: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            ok: true,
            ..Self::bad(name, found, next)
        }
    }

    pub(crate) fn bad(name: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: false,
            found: found.into(),
            next: Some(next.into()),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

impl Checks {
    pub(crate) fn all_good(&self) -> bool {
        self.0.iter().all(|check| check.ok)
    }
}

impl Show for Checks {
    fn table(&self, _: i64) -> String {
        let width = self.0.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for check in &self.0 {
            let word = match (check.ok, &check.next) {
                (false, _) => "FAILED",
                (true, Some(_)) => "WARN",
                (true, None) => "ok",
            };
            text.push_str(&format!(
                "{word:<6}  {:<width$}  {}\n",
                check.name,
                printable(&check.found)
            ));
            if let Some(next) = &check.next {
                text.push_str(&format!("        {:<width$}  next: {}\n", "", printable(next)));
            }
        }
        text
    }
}

/// A configuration file that was checked by the program it is for.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigView {
    pub(crate) file: String,
    /// `server` or `agent`.
    pub(crate) kind: &'static str,
    pub(crate) ok: bool,
    /// What the program said.
    pub(crate) report: String,
}

impl Show for ConfigView {
    fn table(&self, _: i64) -> String {
        let state = if self.ok { "ok" } else { "FAILED" };
        format!("{state} {} ({} configuration)\n", printable(&self.file), self.kind)
    }
}

/// Versions.
#[derive(Debug, Serialize)]
pub(crate) struct VersionView {
    pub(crate) version: &'static str,
}

impl Show for VersionView {
    fn table(&self, _: i64) -> String {
        format!("hallmark {}\n", self.version)
    }
}
