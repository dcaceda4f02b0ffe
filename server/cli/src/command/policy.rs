//! `hallmark policy`: what machines must prove.

mod trial;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use hallmark_api::admin::{
    ApplyPolicyFileRequest, GetPolicyFileRequest, ListPolicyFilesRequest, PolicyFile, PolicyFileChange,
    WithdrawPolicyFileRequest,
};
use hallmark_policy::{
    DigestList, Policy, PolicySet,
    signed::{FileKind, OperatorKey, SignedFile},
};
use hallmark_spiffe::TrustDomain;

use super::{
    Context,
    evidence::read::{limited, text},
};
use crate::{
    args::{RuleChange, out_path},
    client::{Client, with_reason},
    error::CliError,
    exit::Exit,
    output::{Format, confirm, say, show, write},
    progress::with_progress,
    view::policy::{ChangeView, FileContentView, FilesView, PolicyView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Read a policy and say what is wrong with it; no server is asked
    Check {
        /// The policy, TOML
        file: PathBuf,
    },
    /// Test a policy on what machines proved, before it is applied; no server is asked
    #[command(after_help = "Example:
  hallmark evidence save 3f9a -o web-1.evidence
  hallmark policy test edge.toml web-1.evidence web-2.evidence

Exits with 5 when the policy refuses one of them. `hallmark policy apply --dry-run` asks the server about all its machines.")]
    Test(trial::Trial),
    /// Put a policy or a list of digests in force: every machine is appraised again by what it last proved
    #[command(after_help = "Examples:
  hallmark policy apply edge.toml --dry-run
  hallmark policy apply edge.signed.json")]
    Apply {
        /// The policy or list of digests, signed or not
        file: PathBuf,
        #[command(flatten)]
        how: RuleChange,
    },
    /// Make a list of digests from sha256sum output or a Keylime runtime policy; no server is asked
    #[command(after_help = "Example:
  find . -xdev -type f -exec sha256sum {} + > image.sha256
  hallmark policy digests image.sha256 --name image -o image.json
  hallmark policy apply image.json --dry-run")]
    Digests {
        /// Lines of sha256sum, sha384sum or sha512sum, or a Keylime runtime policy
        file: PathBuf,
        /// The list's name, by which policies name it
        #[arg(long)]
        name: String,
        /// The list's serial number, which grows with every change of it
        #[arg(long, default_value_t = 1)]
        serial: u64,
        /// The list to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
    /// List the policies, baselines and lists of digests that were ever applied
    List,
    /// Print a policy or a list of digests as it was applied
    Show {
        /// Its name
        name: String,
        /// What it is
        #[arg(long, value_enum, default_value_t = Kind::Policy)]
        kind: Kind,
    },
    /// Withdraw a policy or a list of digests: every machine is appraised again
    Withdraw {
        /// Its name
        name: String,
        /// What it is
        #[arg(long, value_enum, default_value_t = Kind::Policy)]
        kind: Kind,
        #[command(flatten)]
        how: RuleChange,
    },
    /// Sign a policy, baseline or list of digests with an operator's key; no server is asked
    #[command(after_help = "Example:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out operator.pem
  hallmark policy sign edge.toml --key operator.pem --trust-domain example.org -o edge.signed.json")]
    Sign {
        /// The policy (TOML), baseline or list of digests (JSON)
        file: PathBuf,
        /// The operator's private key: P-256, PKCS #8, PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The trust domain that it is for: servers of others refuse it
        #[arg(long, value_name = "NAME", value_parser = TrustDomain::parse)]
        trust_domain: TrustDomain,
        /// The signed file to write; `-o OUT` says the same here
        #[arg(long, value_name = "OUT", value_parser = out_path)]
        out: PathBuf,
    },
}

/// A kind of rules that `policy` deals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Policy,
    DigestList,
}

impl From<Kind> for FileKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Policy => Self::Policy,
            Kind::DigestList => Self::DigestList,
        }
    }
}

pub(crate) async fn run(context: &Context, command: PolicyCommand) -> Result<Exit, CliError> {
    match command {
        PolicyCommand::Check { file } => check(context, &file),
        PolicyCommand::Test(trial) => trial::run(context, trial),
        PolicyCommand::Apply { file, how } => {
            let content = limited(&file, SignedFile::MAX_BYTES)?;
            let kind = kind_of(&content);
            apply(context, Offered::new(kind, content, "in force"), how).await
        }
        PolicyCommand::List => list(context, None).await,
        PolicyCommand::Digests {
            file,
            name,
            serial,
            out,
        } => {
            differs(&out, &[&file])?;
            save(&out, &(digests(&file, &name, serial)?.to_json() + "\n"))
        }
        PolicyCommand::Show { name, kind } => print(context, kind.into(), &name).await,
        PolicyCommand::Withdraw { name, kind, how } => withdraw(context, kind.into(), &name, how).await,
        PolicyCommand::Sign {
            file,
            key,
            trust_domain,
            out,
        } => {
            let content = limited(&file, SignedFile::MAX_BYTES)?;
            let kind = readable(&file, &content)?;
            differs(&out, &[&file, &key])?;
            sign(kind, &trust_domain, content, &key, &out)
        }
    }
}

fn check(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let policy = Policy::from_toml(&file.display().to_string(), &text(file, Policy::MAX_BYTES)?)?;
    show(context.format, &PolicyView::new(&policy))?;
    Ok(Exit::Done)
}

/// A list of digests in any form that is read; what has no place in one is told.
pub(super) fn digests(file: &Path, name: &str, serial: u64) -> Result<DigestList, CliError> {
    let text = text(file, DigestList::MAX_BYTES)?;
    let (list, left_out) = DigestList::import(name, serial, &text).map_err(|cause| CliError::DigestList {
        file: file.to_owned(),
        cause,
    })?;
    for what in left_out {
        say(&format!("{}: not taken: {what}", file.display()));
    }
    Ok(list)
}

/// A file that is to be applied.
pub(super) struct Offered {
    pub(super) kind: FileKind,
    pub(super) content: Vec<u8>,
    /// What it is then, such as `in force`.
    pub(super) done: &'static str,
    /// Whether a baseline may take the place of another signer's.
    pub(super) replace_signer: bool,
}

impl Offered {
    pub(super) const fn new(kind: FileKind, content: Vec<u8>, done: &'static str) -> Self {
        Self {
            kind,
            content,
            done,
            replace_signer: false,
        }
    }
}

/// Applies a file as it is, or shows what would follow. What takes the trust of machines is asked about.
pub(super) async fn apply(context: &Context, offered: Offered, how: RuleChange) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let (kind, done) = (offered.kind, offered.done);
    let content: Bytes = offered.content.into();
    let ask = |dry_run| ApplyPolicyFileRequest {
        kind: kind.as_str().to_owned(),
        content: content.clone(),
        dry_run,
        replace_signer: offered.replace_signer,
    };
    let RuleChange { how, reason } = how;
    let dry_run = how.change.dry_run;
    if dry_run || !how.yes {
        let preview = async { client.patient_admin().apply_policy_file(ask(true)).await };
        let preview = with_progress(context.format, &client, preview).await?.into_inner();
        if dry_run {
            return told(context, kind, preview, done, dry_run);
        }
        let lost = preview
            .changes
            .iter()
            .filter(|it| it.was_trusted && !it.is_trusted)
            .count();
        let name = &preview.name;
        if lost > 0 && !confirm(&format!("{lost} machines lose trust by the {kind} {name}: go on?")) {
            return Err(CliError::NotConfirmed);
        }
    }
    let request = with_reason(ask(false), &reason);
    let changed = async { client.patient_admin().apply_policy_file(request).await };
    let changed = with_progress(context.format, &client, changed).await;
    let changed = changed.map_err(|status| CliError::of_change(status, list_of(kind)))?;
    told(context, kind, changed.into_inner(), done, dry_run)
}

/// Takes a file out of force, or shows what would follow.
pub(super) async fn withdraw(context: &Context, kind: FileKind, name: &str, how: RuleChange) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let ask = |dry_run| WithdrawPolicyFileRequest {
        kind: kind.as_str().to_owned(),
        name: name.to_owned(),
        dry_run,
    };
    let RuleChange { how, reason } = how;
    if !how.change.dry_run && !how.yes && !confirm(&format!("Withdraw the {kind} {name}?")) {
        return Err(CliError::NotConfirmed);
    }
    let request = with_reason(ask(how.change.dry_run), &reason);
    let changed = async { client.patient_admin().withdraw_policy_file(request).await };
    let changed = with_progress(context.format, &client, changed).await;
    let changed = changed.map_err(|status| match how.change.dry_run {
        true => CliError::from(status),
        false => CliError::of_change(status, list_of(kind)),
    })?;
    told(context, kind, changed.into_inner(), "withdrawn", how.change.dry_run)
}

/// The command that shows what is in force.
const fn list_of(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Baseline => "hallmark baseline list",
        _ => "hallmark policy list",
    }
}

fn told(
    context: &Context,
    kind: FileKind,
    changed: PolicyFileChange,
    done: &'static str,
    dry_run: bool,
) -> Result<Exit, CliError> {
    show(context.format, &ChangeView::new(kind, changed, done, dry_run))?;
    Ok(if dry_run { Exit::WouldChange } else { Exit::Done })
}

/// Shows what was applied, of one kind or of all.
pub(super) async fn list(context: &Context, kind: Option<FileKind>) -> Result<Exit, CliError> {
    let files = files(&context.connect().await?, kind).await?;
    show(context.format, &FilesView::new(files))?;
    Ok(Exit::Done)
}

/// Prints what a file says.
async fn print(context: &Context, kind: FileKind, name: &str) -> Result<Exit, CliError> {
    let file = find(&context.connect().await?, kind, name).await?;
    match context.format {
        // As it is, so that it can be applied again.
        Format::Table => write(&String::from_utf8_lossy(&file.payload))?,
        Format::Json | Format::Yaml => show(context.format, &FileContentView::new(file))?,
    }
    Ok(Exit::Done)
}

/// What was applied, of one kind or of all, without the bytes.
async fn files(client: &Client, kind: Option<FileKind>) -> Result<Vec<PolicyFile>, CliError> {
    let listed = client.admin().list_policy_files(ListPolicyFilesRequest {}).await?;
    let files = listed.into_inner().files.into_iter();
    Ok(files
        .filter(|file| kind.is_none_or(|kind| file.kind == kind.as_str()))
        .collect())
}

/// One file by its name.
pub(super) async fn find(client: &Client, kind: FileKind, name: &str) -> Result<PolicyFile, CliError> {
    let request = GetPolicyFileRequest {
        kind: kind.as_str().to_owned(),
        name: name.to_owned(),
    };
    Ok(client.admin().get_policy_file(request).await?.into_inner())
}

/// Everything that is in force.
pub(super) async fn in_force(client: &Client) -> Result<Vec<PolicyFile>, CliError> {
    let mut whole = Vec::new();
    for file in files(client, None).await?.into_iter().filter(|file| file.in_force) {
        let request = GetPolicyFileRequest {
            kind: file.kind,
            name: file.name,
        };
        whole.push(client.admin().get_policy_file(request).await?.into_inner());
    }
    Ok(whole)
}

/// Signs a file and writes what came of it.
pub(super) fn sign(
    kind: FileKind,
    trust_domain: &TrustDomain,
    content: Vec<u8>,
    key: &Path,
    out: &Path,
) -> Result<Exit, CliError> {
    save(out, &sealed(kind, trust_domain, content, key)?)
}

/// A file, signed for a trust domain.
pub(super) fn sealed(
    kind: FileKind,
    trust_domain: &TrustDomain,
    content: Vec<u8>,
    key: &Path,
) -> Result<String, CliError> {
    let signed = SignedFile::seal(kind, trust_domain, content, &operator_key(key)?);
    let signed = signed.map_err(|cause| CliError::Signed {
        file: key.to_owned(),
        cause,
    })?;
    Ok(signed.to_json() + "\n")
}

/// An operator's private key.
pub(super) fn operator_key(file: &Path) -> Result<OperatorKey, CliError> {
    OperatorKey::from_pem(&limited(file, 64 * 1024)?).map_err(|cause| CliError::Signed {
        file: file.to_owned(),
        cause,
    })
}

/// Whether what is written would take the place of a file that was read.
pub(super) fn differs(out: &Path, read: &[&Path]) -> Result<(), CliError> {
    let Ok(out) = out.canonicalize() else { return Ok(()) };
    match read
        .iter()
        .find(|path| path.canonicalize().is_ok_and(|path| path == out))
    {
        None => Ok(()),
        Some(path) => Err(CliError::Unfit {
            what: "output",
            file: path.to_path_buf(),
            detail: "it is read by the same command, and would be written over".to_owned(),
        }),
    }
}

/// Writes a file and says so.
pub(super) fn save(out: &Path, text: &str) -> Result<Exit, CliError> {
    std::fs::write(out, text).map_err(|cause| CliError::Write {
        file: out.to_owned(),
        cause,
    })?;
    say(&format!("written: {}", out.display()));
    Ok(Exit::Done)
}

/// What a file means to be: a signed one says so itself, and of the others only policies are no JSON.
fn kind_of(content: &[u8]) -> FileKind {
    let text = String::from_utf8_lossy(content);
    let text = text.trim_start_matches('\u{feff}');
    let json = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let named = json.get("kind").and_then(serde_json::Value::as_str);
    if let Some(kind) = named.filter(|_| SignedFile::is_one(text)).and_then(FileKind::from_name) {
        return kind;
    }
    match (json.is_object(), json.get("registers").is_some()) {
        (true, true) => FileKind::Baseline,
        (true, false) => FileKind::DigestList,
        (false, _) => FileKind::Policy,
    }
}

/// The kind of a file that is not signed yet, once it was read as one.
fn readable(path: &Path, content: &[u8]) -> Result<FileKind, CliError> {
    let kind = kind_of(content);
    PolicySet::default().add_file(kind, &path.display().to_string(), content)?;
    Ok(kind)
}
