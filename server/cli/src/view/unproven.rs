//! Logs of which there is no quote.

use std::collections::BTreeMap;
use std::path::Path;

use hallmark_evidence::LogKind;
use hallmark_verify::offline::UnprovenReport;
use serde::Serialize;

use super::evidence::{checks, events, facts_of};
use crate::{
    output::Show,
    table::{columns, facts},
};

/// Stands first in every form.
const NOTE: &str = "no quote came with these logs: whoever wrote them could write anything, and this is not a verdict";

#[derive(Debug, Serialize)]
pub(crate) struct UnprovenView {
    note: &'static str,
    files: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    report: UnprovenReport,
}

impl UnprovenView {
    pub(crate) fn new<'a>(files: impl Iterator<Item = (LogKind, &'a Path)>, report: UnprovenReport) -> Self {
        Self {
            note: NOTE,
            files: files
                .map(|(kind, file)| (kind.as_str(), file.display().to_string()))
                .collect(),
            report,
        }
    }

    fn head(&self) -> String {
        let files = self.files.iter().map(|(log, file)| (*log, file.clone()));
        let mut lines: Vec<_> = [("UNPROVEN", self.note.to_owned())].into_iter().chain(files).collect();
        if let Some(ima) = &self.report.ima {
            lines.push((
                "IMA",
                format!(
                    "{} lines, {} violations, boot_aggregate {} (against the event log)",
                    ima.lines, ima.violations, ima.boot_aggregate
                ),
            ));
        }
        facts(&lines)
    }

    fn registers(&self) -> String {
        let rows: Vec<[String; 2]> = self
            .report
            .pcrs
            .iter()
            .map(|pcr| {
                let replayed = pcr.replayed.clone().unwrap_or_else(|| "-".to_owned());
                [format!("{}:{}", pcr.bank, pcr.pcr), replayed]
            })
            .collect();
        columns(["REGISTER", "REPLAYED, NOT QUOTED"], &rows)
    }

    fn facts(&self) -> String {
        match &self.report.unproven_facts {
            Some(found) => format!("unproven, if the TPM quoted these registers:\n{}", facts_of(found)),
            None => "the logs say nothing that a quote could prove\n".to_owned(),
        }
    }
}

impl Show for UnprovenView {
    fn table(&self, _: i64) -> String {
        let report = &self.report;
        let mut parts = vec![self.head()];
        parts.extend((!report.faults.is_empty()).then(|| checks(&report.faults)));
        parts.extend((!report.pcrs.is_empty()).then(|| self.registers()));
        parts.extend((!report.events.is_empty()).then(|| events(&report.events)));
        parts.push(self.facts());
        parts.join("\n")
    }
}
