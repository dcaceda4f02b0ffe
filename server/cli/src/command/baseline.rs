//! `hallmark baseline`: what good machines' boots measure.

mod import;
mod predict;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hallmark_policy::{
    Baseline,
    signed::{FileKind, OperatorKeys, SignedFile},
};
use hallmark_spiffe::TrustDomain;

use super::{
    Context,
    evidence::read::{limited, text},
    policy::{Offered, apply, differs, find, list, save, sealed, sign},
};
use crate::{
    args::{RuleChange, out_path},
    client::Client,
    error::CliError,
    exit::Exit,
    kept::Kept,
    lookup,
    output::{confirm, show},
    timestamp,
    view::difference::DifferenceView,
};
use import::Import;
use predict::Predict;

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Compute what machines that boot an image will measure; no server is asked
    #[command(after_help = "Example:
  hallmark baseline predict --uki edge.efi --firmware-variables OVMF_VARS.fd --name edge-2026-12 -o edge-2026-12.json")]
    Predict(Predict),
    /// Make a baseline from what a good node last proved
    #[command(after_help = "Example:\n  hallmark baseline capture 3f9a --name edge-2026-11 -o edge-2026-11.json")]
    Capture {
        /// The node
        node: String,
        /// The baseline's name
        #[arg(long)]
        name: String,
        /// The baseline's serial number, which grows with every change of it
        #[arg(long, default_value_t = 1)]
        serial: u64,
        /// The baseline file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
    /// Show how two boots differ
    #[command(after_help = "Examples:
  hallmark baseline diff edge-2026-11.json edge-2026-12.json
  hallmark baseline diff edge-2026-11 3f9a")]
    Diff {
        /// A baseline: a file, or the name of one that was applied
        baseline: String,
        /// What is held against it: a node, a baseline's file or name
        other: String,
    },
    /// Put a baseline in force: every machine is appraised again by what it last proved
    #[command(after_help = "Example:\n  hallmark baseline promote edge-2026-12.json --dry-run")]
    Promote {
        /// The baseline's file, signed or not
        file: PathBuf,
        /// Take the place of a baseline that the signer of an image signed
        #[arg(long)]
        replace_signer: bool,
        #[command(flatten)]
        how: RuleChange,
    },
    /// Retire a baseline: it is kept for the record, and no machine matches it any longer
    Retire {
        /// Its name
        name: String,
        /// An operator's private key, where only signed files count: P-256, PKCS #8, PEM
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        how: RuleChange,
    },
    /// List the baselines that were ever applied
    List,
    /// Write a baseline that was applied to a file, signed if a key is given
    Export {
        /// Its name
        name: String,
        /// An operator's private key: P-256, PKCS #8, PEM
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The trust domain that it is signed for; else the server's own
        #[arg(long, value_name = "NAME", value_parser = TrustDomain::parse, requires = "key")]
        trust_domain: Option<TrustDomain>,
        /// The file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
    /// Check the signature of a baseline and put it in force (--signer), or write it to a file (-o)
    ///
    /// The baseline of a machine image is signed by the key of the image: with --signer it is put in force at once. With -o no
    /// server is asked.
    #[command(after_help = "Examples:
  hallmark baseline import baseline.signed.json --signer db.crt
  hallmark baseline import release-2.signed.json --operator-key operator.pub -o release-2.json
  hallmark baseline import firmware.corim --operator-key maker.pub --name firmware-7 -o firmware-7.json")]
    Import(Import),
}

pub(crate) async fn run(context: &Context, command: BaselineCommand) -> Result<Exit, CliError> {
    match command {
        BaselineCommand::Predict(predict) => predict.run(context),
        BaselineCommand::Capture {
            node,
            name,
            serial,
            out,
        } => {
            let client = context.connect().await?;
            let id = lookup::node(&client, &node).await?.to_string();
            let facts = Kept::of(&client, &id).await?.facts()?;
            let baseline = Baseline::capture(&name, serial, timestamp::now(), &id, &facts, None)?;
            save(&out, &(baseline.to_json() + "\n"))
        }
        BaselineCommand::Diff { baseline, other } => diff(context, &baseline, &other).await,
        BaselineCommand::Promote {
            file,
            replace_signer,
            how,
        } => {
            let content = limited(&file, SignedFile::MAX_BYTES)?;
            let offered = Offered::new(FileKind::Baseline, content, "in force");
            let offered = Offered {
                replace_signer,
                ..offered
            };
            apply(context, offered, how).await
        }
        BaselineCommand::Retire { name, key, how } => retire(context, &name, key.as_deref(), how).await,
        BaselineCommand::List => list(context, Some(FileKind::Baseline)).await,
        BaselineCommand::Export {
            name,
            key,
            trust_domain,
            out,
        } => {
            let client = context.connect().await?;
            let file = find(&client, FileKind::Baseline, &name).await?;
            match key {
                Some(key) => {
                    differs(&out, &[&key])?;
                    let trust_domain = match trust_domain {
                        Some(named) => named,
                        None => client.trust_domain().await?,
                    };
                    sign(FileKind::Baseline, &trust_domain, file.payload.to_vec(), &key, &out)
                }
                None => save(&out, &String::from_utf8_lossy(&file.payload)),
            }
        }
        BaselineCommand::Import(import) => import.run(context).await,
    }
}

pub(super) fn operators(keys: &[PathBuf]) -> Result<OperatorKeys, CliError> {
    let mut operators = OperatorKeys::default();
    for key in keys {
        let pem = limited(key, 64 * 1024)?;
        operators.add_pem(&pem).map_err(|cause| CliError::Signed {
            file: key.clone(),
            cause,
        })?;
    }
    Ok(operators)
}

/// A retired baseline is a later state of itself.
async fn retire(context: &Context, name: &str, key: Option<&Path>, how: RuleChange) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let file = find(&client, FileKind::Baseline, name).await?;
    let baseline = Baseline::from_json(&String::from_utf8_lossy(&file.payload))?;
    let retired = baseline.retired(file.serial.saturating_add(1)).to_json().into_bytes();
    if !how.how.change.dry_run && !how.how.yes && !confirm(&format!("Retire the baseline {name}?")) {
        return Err(CliError::NotConfirmed);
    }
    let content = match key {
        Some(key) => sealed(FileKind::Baseline, &client.trust_domain().await?, retired, key)?.into_bytes(),
        None => retired,
    };
    apply(context, Offered::new(FileKind::Baseline, content, "retired"), how).await
}

async fn diff(context: &Context, baseline: &str, other: &str) -> Result<Exit, CliError> {
    let left = named(context, baseline).await?;
    let comparison = match named(context, other).await {
        Ok(right) => left.compare_with(&right),
        // What is no baseline is a node.
        Err(CliError::Missing { .. }) => {
            let client = context.connect().await?;
            let id = lookup::node(&client, other).await?.to_string();
            left.compare(&Kept::of(&client, &id).await?.facts()?)
        }
        Err(error) => return Err(error),
    };
    show(context.format, &DifferenceView::new(comparison))?;
    Ok(Exit::Done)
}

/// A baseline by its file, or by its name on the server.
pub(super) async fn named(context: &Context, name: &str) -> Result<Baseline, CliError> {
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Baseline::from_json(&text(path, SignedFile::MAX_BYTES)?)?);
    }
    let client: Client = context.connect().await?;
    let file = find(&client, FileKind::Baseline, name).await?;
    Ok(Baseline::from_json(&String::from_utf8_lossy(&file.payload))?)
}
