//! `evidence explain`: everything that a file holds, or what logs say by themselves.

use std::path::PathBuf;

use clap::ArgGroup;
use hallmark_evidence::{Limits, LogKind};
use hallmark_verify::offline::{RawLogs, explain_unproven};

use super::judge::Judge;
use super::read::limited;
use crate::{
    command::Context,
    error::CliError,
    exit::Exit,
    output::show,
    view::{evidence::Detail, unproven::UnprovenView},
};

/// An evidence file, or logs of which there is no quote.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").args(["file", "eventlog"]).required(true))]
pub(crate) struct Explain {
    #[command(flatten)]
    judge: Option<Judge>,
    /// The firmware's event log (binary_bios_measurements), without a quote
    #[arg(long, value_name = "FILE", conflicts_with = "Judge")]
    eventlog: Option<PathBuf>,
    /// The IMA list of the same boot (binary_runtime_measurements or ascii_runtime_measurements)
    #[arg(long, value_name = "FILE", requires = "eventlog")]
    ima: Option<PathBuf>,
    /// systemd's measurement log of the same boot (tpm2-measure.log)
    #[arg(long, value_name = "FILE", requires = "eventlog")]
    systemd_log: Option<PathBuf>,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let files = [
            (LogKind::Tcg, self.eventlog),
            (LogKind::Systemd, self.systemd_log),
            (LogKind::Ima, self.ima),
        ];
        if let Some(judge) = self.judge {
            return judge.run(context, Detail::Everything);
        }
        let mut logs = Vec::new();
        for (kind, file) in files {
            if let Some(file) = file {
                let bytes = limited(&file, Limits::KEPT_LOG)?;
                logs.push((kind, file, bytes));
            }
        }
        let log = |wanted: LogKind| {
            let mut logs = logs.iter();
            logs.find(|(kind, ..)| *kind == wanted)
                .map(|(.., bytes)| bytes.as_slice())
        };
        let report = explain_unproven(&RawLogs {
            tcg: log(LogKind::Tcg).unwrap_or_default(),
            systemd: log(LogKind::Systemd),
            ima: log(LogKind::Ima),
        });
        let exit = if report.faults.is_empty() {
            Exit::Done
        } else {
            Exit::Refused
        };
        let files = logs.iter().map(|(kind, file, _)| (*kind, file.as_path()));
        show(context.format, &UnprovenView::new(files, report))?;
        Ok(exit)
    }
}
