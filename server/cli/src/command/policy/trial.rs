//! `hallmark policy test`: a policy against what machines proved, before anybody applies it.

use std::path::PathBuf;

use clap::Args;
use hallmark_policy::Policy;

use crate::{
    command::{
        Context,
        evidence::{judge::Judge, judge::named_file, read::text},
    },
    error::CliError,
    exit::Exit,
    output::show,
    view::policy::{TrialView, TrialsView},
};

/// Which policy, and which machines.
#[derive(Debug, Args)]
pub(crate) struct Trial {
    /// The policy, TOML
    file: PathBuf,
    /// Evidence of machines, as `hallmark evidence save` and `evidence import` write it
    #[arg(required = true)]
    evidence: Vec<PathBuf>,
    /// A baseline that the policy names; may be given several times; else those in the evidence files
    #[arg(long, value_name = "FILE")]
    baseline: Vec<PathBuf>,
    /// A list of digests that the policy names, of `sha256sum` or as JSON; may be given several times
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    digest_list: Vec<(String, PathBuf)>,
}

/// Holds the policy against each file. It exits with 5 when it refuses one of them.
pub(super) fn run(context: &Context, trial: Trial) -> Result<Exit, CliError> {
    let policy = Policy::from_toml(
        &trial.file.display().to_string(),
        &text(&trial.file, Policy::MAX_BYTES)?,
    )?;
    let mut trials = Vec::new();
    for evidence in trial.evidence {
        let (baseline, lists) = (trial.baseline.clone(), trial.digest_list.clone());
        let reasons = Judge::by_policy(evidence.clone(), &policy, baseline, lists)?;
        trials.push(TrialView::new(&evidence, &reasons));
    }
    let trials = TrialsView(trials);
    show(context.format, &trials)?;
    Ok(if trials.refuses() { Exit::Refused } else { Exit::Done })
}
