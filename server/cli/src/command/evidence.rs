//! `hallmark evidence`: what a machine's TPM said once, as a file. Only `save` asks a server.

mod import;
pub(super) mod read;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use hallmark_evidence::EvidenceFile;
use hallmark_policy::{DigestList, MachineFacts, Policy, PolicySet, Reason};
use hallmark_verify::{Trust, recorded};

use super::Context;
use crate::{
    error::CliError,
    exit::Exit,
    kept::Kept,
    lookup,
    output::{say, show},
    timestamp,
    view::evidence::{Detail, EvidenceView},
};
use import::Import;

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Make an evidence file of what tpm2-tools, systemd and the kernel write
    #[command(after_help = "Example:
  tpm2_quote -c ak.ctx -l sha256:0,1,2,3,4,5,6,7,8,9,10,11 -q 00112233445566778899aabbccddeeff -m quote.msg -s quote.sig
  hallmark evidence import --ak-public ak.tpm2b_public --quote quote.msg --signature quote.sig \\
    --qualification 00112233445566778899aabbccddeeff \\
    --eventlog /sys/kernel/security/tpm0/binary_bios_measurements \\
    --ima /sys/kernel/security/ima/binary_runtime_measurements -o machine.evidence")]
    Import(Import),
    /// Save what a node proved last as an evidence file
    #[command(after_help = "Example:\n  hallmark evidence save 3f9a -o machine.evidence")]
    Save {
        /// The node
        node: String,
        /// The evidence file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
    },
    /// Judge an evidence file; exits with 5 if it is refused
    #[command(
        after_help = "Example:\n  hallmark evidence verify machine.evidence --anchors ek-roots.pem --policy edge.toml"
    )]
    Verify(Judge),
    /// Judge an evidence file and show every event, register, fact and reason
    #[command(
        after_help = "Example:\n  hallmark evidence explain machine.evidence -o json | jq '.pcrs[] | select(.agrees == false)'"
    )]
    Explain(Judge),
}

/// What a file is judged by.
#[derive(Debug, clap::Args)]
pub(crate) struct Judge {
    /// The evidence file
    file: PathBuf,
    /// Trusted roots for its EK certificate, PEM or DER; may be given several times
    #[arg(long, value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// A policy to hold it against; may be given several times
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// A list of digests that policies name, of `sha256sum` or as JSON; may be given several times
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    digest_list: Vec<(String, PathBuf)>,
    /// The time at which certificates are looked at, RFC 3339; now when left out
    #[arg(long, value_name = "TIME", value_parser = timestamp::parse_rfc3339)]
    at: Option<i64>,
}

pub(crate) async fn run(context: &Context, command: EvidenceCommand) -> Result<Exit, CliError> {
    match command {
        EvidenceCommand::Import(import) => {
            let file = import.run()?;
            say(&format!("written: {}", file.display()));
            Ok(Exit::Done)
        }
        EvidenceCommand::Save { node, out } => save(context, &node, &out).await,
        EvidenceCommand::Verify(judge) => judge.run(context, Detail::Checks),
        EvidenceCommand::Explain(judge) => judge.run(context, Detail::Everything),
    }
}

async fn save(context: &Context, node: &str, out: &Path) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let id = lookup::node(&client, node).await?.to_string();
    let file = Kept::of(&client, &id).await?.into_file()?;
    let bytes = file.to_json().map_err(|error| CliError::Answer {
        what: error.to_string(),
    })?;
    std::fs::write(out, bytes).map_err(|cause| CliError::Write {
        file: out.to_owned(),
        cause,
    })?;
    say(&format!("written: {}", out.display()));
    Ok(Exit::Done)
}

impl Judge {
    fn run(self, context: &Context, detail: Detail) -> Result<Exit, CliError> {
        let bytes = read::limited(&self.file, EvidenceFile::MAX_LEN)?;
        let file = EvidenceFile::parse(&bytes).map_err(|cause| CliError::Evidence {
            file: self.file.clone(),
            cause,
        })?;
        let trust = trust(&self.anchors)?;
        let now = self.at.unwrap_or_else(timestamp::now);
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(now).unwrap_or(0));
        let (report, measured) = recorded::measured(&file, trust.as_ref(), now);
        let facts = measured.as_ref().map(|measured| MachineFacts::of_kept(measured, now));
        let set = self.set()?;
        let reasons = facts.map_or_else(Vec::new, |facts| judged(&set, &facts, now));
        let view = EvidenceView::new(&self.file, &file, report, reasons, detail);
        let exit = if view.is_trusted() { Exit::Done } else { Exit::Refused };
        show(context.format, &view)?;
        Ok(exit)
    }

    fn set(&self) -> Result<PolicySet, CliError> {
        let mut set = PolicySet::default();
        for path in &self.policy {
            let text = read::text(path)?;
            let mut policy = Policy::from_toml(&path.display().to_string(), &text)?;
            // Who names a policy for a file means it for this machine.
            policy.applies_to.clear();
            set.apply(policy);
        }
        for (name, path) in &self.digest_list {
            let unfit = |detail: String| CliError::Unfit {
                what: "list of digests",
                file: path.clone(),
                detail,
            };
            let bytes = read::limited(path, DigestList::MAX_BYTES)?;
            let text = String::from_utf8(bytes).map_err(|_| unfit("it is not UTF-8".to_owned()))?;
            let (list, left_out) = DigestList::import(name, 1, &text).map_err(|error| unfit(error.to_string()))?;
            for what in left_out {
                say(&format!("{}: not taken: {what}", path.display()));
            }
            set.add_digest_list(list);
        }
        Ok(set)
    }
}

/// `NAME=FILE`.
fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE is wanted")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

fn trust(anchors: &[PathBuf]) -> Result<Option<Trust>, CliError> {
    if anchors.is_empty() {
        return Ok(None);
    }
    let mut trust = Trust::default();
    for path in anchors {
        let bytes = read::limited(path, read::MAX_FILE)?;
        let unfit = |error: hallmark_verify::TrustError| CliError::Unfit {
            what: "trusted root",
            file: path.clone(),
            detail: error.to_string(),
        };
        trust.roots.add(&path.display().to_string(), &bytes).map_err(unfit)?;
    }
    Ok(Some(trust))
}

/// The policies' reasons; the configuration of a server has no say here.
fn judged(set: &PolicySet, facts: &MachineFacts, now: SystemTime) -> Vec<Reason> {
    let judgement = set.judge(facts, now);
    let reasons = judgement.reasons().iter();
    reasons
        .filter(|reason| reason.policy != Reason::BUILT_IN)
        .cloned()
        .collect()
}
