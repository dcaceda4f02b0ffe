//! `hallmark baseline`: what good machines' boots measure.

mod predict;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hallmark_policy::{
    Baseline, PolicySet,
    signed::{FileKind, OperatorKeys, SignedFile},
};
use hallmark_spiffe::TrustDomain;

use super::{
    Context,
    evidence::read::{limited, text},
    policy::{apply, differs, find, list, save, sealed, sign},
};
use crate::{
    args::{RuleChange, out_path},
    client::Client,
    error::CliError,
    exit::Exit,
    kept::Kept,
    lookup,
    output::{confirm, say, show},
    timestamp,
    view::difference::DifferenceView,
};
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
    /// Take the baseline out of a signed file or a CoRIM, once its signature was checked; no server is asked
    #[command(after_help = "Examples:
  hallmark baseline import release-2.signed.json --operator-key operator.pub -o release-2.json
  hallmark baseline import firmware.corim --operator-key maker.pub --name firmware-7 -o firmware-7.json")]
    Import {
        /// The signed file, or a CoRIM (CBOR)
        file: PathBuf,
        /// Public keys of those who may sign, PEM
        #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
        operator_key: Vec<PathBuf>,
        /// The trust domain that a signed file must be for; else it is told which one it names
        #[arg(long, value_name = "NAME", value_parser = TrustDomain::parse)]
        trust_domain: Option<TrustDomain>,
        /// Take a CoRIM that nobody signed
        #[arg(long, conflicts_with = "operator_key", requires = "name")]
        unsigned: bool,
        /// The baseline's name, for a CoRIM
        #[arg(long)]
        name: Option<String>,
        /// The baseline's serial number, for a CoRIM
        #[arg(long, default_value_t = 1)]
        serial: u64,
        /// The baseline file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
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
        BaselineCommand::Promote { file, how } => {
            let content = limited(&file, SignedFile::MAX_BYTES)?;
            apply(context, FileKind::Baseline, content, "in force", how).await
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
        BaselineCommand::Import {
            file,
            operator_key,
            trust_domain,
            unsigned,
            name,
            serial,
            out,
        } => {
            let keys = (!unsigned).then(|| operators(&operator_key)).transpose()?;
            let bytes = limited(&file, SignedFile::MAX_BYTES)?;
            if Baseline::is_corim(&bytes) {
                return import_corim(&file, &bytes, keys.as_ref(), name.as_deref(), serial, &out);
            }
            let keys = keys.ok_or_else(|| unfit(&file, &"only a CoRIM is taken unsigned"))?;
            import(&file, bytes, &keys, trust_domain.as_ref(), &out)
        }
    }
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::Unfit {
        what: "signed file",
        file: path.to_owned(),
        detail: error.to_string(),
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

fn import_corim(
    file: &Path,
    bytes: &[u8],
    keys: Option<&OperatorKeys>,
    name: Option<&str>,
    serial: u64,
    out: &Path,
) -> Result<Exit, CliError> {
    let name = name.ok_or_else(|| unfit(file, &"a CoRIM does not say what its baseline is called: add --name"))?;
    let (baseline, left_out) = Baseline::from_corim(bytes, name, serial, timestamp::now(), keys)?;
    for what in left_out {
        say(&format!("{}: not taken: {what}", file.display()));
    }
    save(out, &(baseline.to_json() + "\n"))
}

fn import(
    file: &Path,
    bytes: Vec<u8>,
    keys: &OperatorKeys,
    trust_domain: Option<&TrustDomain>,
    out: &Path,
) -> Result<Exit, CliError> {
    let signed = String::from_utf8(bytes).map_err(|error| unfit(file, &error))?;
    let opened = SignedFile::parse(&signed).and_then(|signed| signed.open(FileKind::Baseline, trust_domain, keys));
    let opened = opened.map_err(|cause| CliError::Signed {
        file: file.to_owned(),
        cause,
    })?;
    PolicySet::default().add_file(FileKind::Baseline, &file.display().to_string(), &opened.payload)?;
    if trust_domain.is_none() {
        say(&format!("{}: signed for {}", file.display(), opened.trust_domain));
    }
    save(out, &String::from_utf8_lossy(&opened.payload))
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
    apply(context, FileKind::Baseline, content, "retired", how).await
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
