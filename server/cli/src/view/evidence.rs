//! Kept evidence, judged.

use hallmark_host::printable;
use std::path::Path;

use hallmark_evidence::{EvidenceFile, Source};
use hallmark_policy::Reason;
use hallmark_verify::boot::{BootFacts, LoggedEvent};
use hallmark_verify::offline::{Check, OfflineReport};
use serde::Serialize;

use crate::{
    output::Show,
    table::{columns, facts},
};

/// How much the table shows; the other forms show everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Checks,
    Everything,
}

/// What a file was judged by: `given` on the command line, brought along by the `file`, or `none`.
#[derive(Debug, Serialize)]
pub(crate) struct JudgedBy {
    /// As of when, RFC 3339.
    pub(crate) at: String,
    pub(crate) anchors: &'static str,
    pub(crate) rules: &'static str,
}

/// What a rule found and, where it did not hold, its cause and the next step.
#[derive(Debug, Serialize)]
struct Advised {
    #[serde(flatten)]
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    likely_cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<&'static str>,
}

impl From<Reason> for Advised {
    fn from(reason: Reason) -> Self {
        let known = reason.code.reason().filter(|_| !reason.holds);
        Self {
            reason,
            likely_cause: known.and_then(|known| known.likely_cause),
            next_step: known.and_then(|known| known.next_step),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct EvidenceView {
    file: String,
    source: Source,
    made_at: String,
    judged_by: JudgedBy,
    #[serde(flatten)]
    report: OfflineReport,
    /// What each rule of the given policies found.
    reasons: Vec<Advised>,
    #[serde(skip)]
    detail: Detail,
}

impl EvidenceView {
    pub(crate) fn new(
        path: &Path,
        file: &EvidenceFile,
        judged_by: JudgedBy,
        mut report: OfflineReport,
        reasons: Vec<Reason>,
        detail: Detail,
    ) -> Self {
        if reasons.iter().any(Reason::refuses) {
            report.verdict = "refused";
        }
        Self {
            file: path.display().to_string(),
            source: file.source.clone(),
            made_at: file.made_at.clone(),
            judged_by,
            report,
            reasons: reasons.into_iter().map(Advised::from).collect(),
            detail,
        }
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.report.is_verified() && !self.reasons.iter().any(|told| told.reason.refuses())
    }

    fn head(&self) -> String {
        let mut lines = vec![
            ("verdict", self.report.verdict.to_owned()),
            ("file", self.file.clone()),
            ("made", self.made_at.clone()),
            (
                "judged",
                format!(
                    "as of {}; roots: {}; rules: {}",
                    self.judged_by.at, self.judged_by.anchors, self.judged_by.rules
                ),
            ),
            (
                "attestation key",
                self.report
                    .ak_name
                    .clone()
                    .or_else(|| self.report.ak_sha256.clone())
                    .unwrap_or_default(),
            ),
        ];
        if let Some(quote) = &self.report.quote {
            lines.push(("qualification", quote.qualification.clone()));
            lines.push((
                "boot",
                format!("reset {}, restart {}", quote.reset_count, quote.restart_count),
            ));
        }
        if let Some(ima) = &self.report.ima {
            let text = format!(
                "{} of {} lines proven, {} violations, boot_aggregate {}",
                ima.proven_lines, ima.lines, ima.violations, ima.boot_aggregate
            );
            lines.push(("IMA", text));
        }
        facts(&lines)
    }

    fn checks(&self) -> String {
        let mut text = checks(&self.report.checks);
        for Advised {
            reason,
            likely_cause,
            next_step,
        } in &self.reasons
        {
            let word = match (reason.holds, reason.dry_run) {
                (true, _) => "ok    ",
                (false, true) => "would ",
                (false, false) => "FAILED",
            };
            let name = format!("{}/{}", reason.policy, reason.rule);
            text.push_str(&format!(
                "{word}  {name:<14}  {}: {}\n",
                reason.code,
                printable(&reason.text)
            ));
            let event = reason.first_event.as_ref().map(ToString::to_string);
            let more = [
                ("", reason.compared.as_deref()),
                ("", event.as_deref()),
                ("cause: ", *likely_cause),
                ("next: ", *next_step),
            ];
            for (label, value) in more {
                if let Some(value) = value {
                    text.push_str(&format!("        {:<14}  {label}{}\n", "", printable(value)));
                }
            }
        }
        text
    }

    fn registers(&self) -> String {
        let rows: Vec<[String; 4]> = self
            .report
            .pcrs
            .iter()
            .map(|pcr| {
                let agrees = match pcr.agrees {
                    Some(true) => "ok".to_owned(),
                    Some(false) => match (&pcr.first_divergence, pcr.among) {
                        (Some(event), _) => format!(
                            "FAILED from event {} on: {} {}",
                            event.number, event.kind, event.description
                        ),
                        (None, Some((first, last))) => format!("FAILED: any of events {first} to {last}"),
                        (None, None) => "FAILED".to_owned(),
                    },
                    None => "-".to_owned(),
                };
                let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
                [
                    format!("{}:{}", pcr.bank, pcr.pcr),
                    shown(&pcr.quoted),
                    shown(&pcr.replayed),
                    agrees,
                ]
            })
            .collect();
        columns(["REGISTER", "QUOTED", "REPLAYED", "SAME"], &rows)
    }

    fn facts(&self) -> String {
        let Some(found) = &self.report.facts else {
            return "no fact of the boot is proven\n".to_owned();
        };
        facts_of(found)
    }
}

/// Checks, a paragraph each.
pub(super) fn checks(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.holds {
            Some(true) => "ok    ",
            Some(false) => "FAILED",
            None => "-     ",
        };
        let code = check.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
        text.push_str(&format!(
            "{word}  {:<14}  {code}{}\n",
            check.name,
            printable(&check.text)
        ));
        let more = [
            ("", &check.compared),
            ("cause: ", &check.likely_cause),
            ("next: ", &check.next_step),
        ];
        for (label, value) in more {
            if let Some(value) = value {
                text.push_str(&format!("        {:<14}  {label}{}\n", "", printable(value)));
            }
        }
    }
    text
}

/// Events, a line each.
pub(super) fn events(events: &[LoggedEvent]) -> String {
    let rows: Vec<[String; 5]> = events
        .iter()
        .map(|event| {
            [
                format!("{} {}", event.log, event.number),
                if event.pcr == u32::MAX {
                    "-".to_owned()
                } else {
                    event.pcr.to_string()
                },
                event.kind.clone(),
                if event.authenticated {
                    "yes".to_owned()
                } else {
                    format!("no ({})", event.authentication)
                },
                event.description.clone(),
            ]
        })
        .collect();
    columns(["EVENT", "PCR", "TYPE", "PROVEN", "WHAT THE LOG SAYS"], &rows)
}

/// What is known of a boot, a fact a line.
pub(super) fn facts_of(found: &BootFacts) -> String {
    let value = serde_json::to_value(found).unwrap_or_default();
    let mut lines = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let shown = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) if list.is_empty() => continue,
            serde_json::Value::Object(map) if map.values().all(serde_json::Value::is_null) || name == "pcrs" => {
                continue;
            }
            other => other.to_string(),
        };
        lines.push((name.as_str(), shown));
    }
    facts(&lines)
}

impl Show for EvidenceView {
    fn table(&self, _: i64) -> String {
        let parts = match self.detail {
            Detail::Checks => vec![self.head(), self.checks()],
            Detail::Everything => vec![
                self.head(),
                self.checks(),
                self.registers(),
                events(&self.report.events),
                self.facts(),
            ],
        };
        parts.join("\n")
    }
}
