//! `hallmark evidence`: what a machine's TPM said once, as a file. Only `save` asks a server.

mod explain;
mod import;
pub(super) mod judge;
pub(super) mod read;
mod registers;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hallmark_evidence::RuleFile;

use super::{Context, policy};
use crate::{args::out_path, error::CliError, exit::Exit, kept::Kept, lookup, output::say, view::evidence::Detail};
use explain::Explain;
use import::Import;
use judge::Judge;

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Make an evidence file from what tpm2-tools, systemd and the kernel write
    #[command(after_help = "Example:
  tpm2_quote -c ak.ctx -l sha256:0,1,2,3,4,5,6,7,8,9,10,11 -q 00112233445566778899aabbccddeeff -m quote.msg -s quote.sig
  hallmark evidence import --ak-public ak.tpm2b_public --quote quote.msg --signature quote.sig \\
    --qualification 00112233445566778899aabbccddeeff \\
    --eventlog /sys/kernel/security/tpm0/binary_bios_measurements \\
    --ima /sys/kernel/security/ima/binary_runtime_measurements -o machine.evidence")]
    Import(Import),
    /// Save what a node last proved as an evidence file, with the rules that it was judged by
    #[command(after_help = "Example:
  hallmark evidence save 3f9a -o machine.evidence
  hallmark evidence verify machine.evidence")]
    Save {
        /// The node
        node: String,
        /// The evidence file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
    /// Judge an evidence file; exits with 5 if it is refused
    #[command(
        after_help = "Example:\n  hallmark evidence verify machine.evidence --anchors ek-roots.pem --policy edge.toml"
    )]
    Verify(Judge),
    /// Judge an evidence file and show every event, register, fact and reason; or show what logs say of which there is no
    /// quote: nothing of that is proven, and there is no verdict
    #[command(after_help = "Examples:
  hallmark evidence explain machine.evidence -o json | jq '.pcrs[] | select(.agrees == false)'
  hallmark evidence explain --eventlog binary_bios_measurements --ima binary_runtime_measurements

Of logs alone it exits with 0 if they could be decoded and replayed, which says nothing of the machine, and with 5 if not.")]
    Explain(Explain),
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
        EvidenceCommand::Explain(explain) => explain.run(context),
    }
}

/// What the server keeps, with the policies, baselines and lists that are in force: the server judged it by them, since it
/// judges every node again whenever one changes.
async fn save(context: &Context, node: &str, out: &Path) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let id = lookup::node(&client, node).await?.to_string();
    let mut file = Kept::of(&client, &id).await?.into_file()?;
    if let Some(judged) = &mut file.judged {
        let rules = policy::in_force(&client).await?.into_iter().map(|file| RuleFile {
            kind: file.kind,
            content: file.payload.to_vec(),
        });
        judged.rules.extend(rules);
    }
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
