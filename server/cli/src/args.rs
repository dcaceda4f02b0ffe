//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    command::{
        authority::AuthorityCommand, baseline::BaselineCommand, bundle::BundleCommand, config::ConfigCommand,
        entry::EntryCommand, evidence::EvidenceCommand, hsm::HsmCommand, inventory::InventoryCommand,
        node::NodeCommand, policy::PolicyCommand, provision::ProvisionCommand, record::RecordCommand,
        svid::SvidCommand,
    },
    duration::parse_duration,
    output::Format,
};

const EXAMPLES: &str = "\
Examples:
  hallmark status
  hallmark node list
  hallmark entry create --spiffe-id /web --node 3f9a --selector unix:user:www-data
  hallmark entry list -o json | jq -r '.[].spiffe_id'

Exit codes:
  0 done   1 unexpected, or a check failed   2 usage or configuration   3 not permitted
  4 server or HSM cannot be reached   5 verified and refused   6 not found or conflict
  7 would change (dry run)";

/// Operate a Hallmark server: nodes, entries, bundle and HSM.
#[derive(Debug, Parser)]
#[command(name = "hallmark", version, after_help = EXAMPLES, propagate_version = false)]
pub(crate) struct Args {
    /// The server's admin socket
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "PATH",
        env = "HALLMARK_ADMIN_SOCKET",
        default_value = "/run/hallmark-server/admin.sock"
    )]
    pub(crate) socket: PathBuf,

    /// Form of the output: the JSON form is stable and meant for programs
    #[arg(short, long, global = true, help_heading = "Global options", value_name = "FORM", value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,

    /// Longest wait for each answer, for example 10s; `policy apply` and `withdraw` wait longer while the server says how far
    /// it is
    #[arg(long, global = true, help_heading = "Global options", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of the server: parts, counts, authority
    Status,
    /// Machines and their life cycle
    #[command(subcommand)]
    Node(NodeCommand),
    /// The inventory of your machines: import, list, export
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// Machines that are installed over the network: which image, and how far it is
    #[command(subcommand)]
    Provision(ProvisionCommand),
    /// Registration entries: who may hold which SPIFFE ID
    #[command(subcommand)]
    Entry(EntryCommand),
    /// The trust domain's public keys
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// The authorities that sign: their life, and steps that are forced
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// SVIDs that are issued by hand
    #[command(subcommand)]
    Svid(SvidCommand),
    /// The HSM token that signs
    #[command(subcommand)]
    Hsm(HsmCommand),
    /// Evidence files: verify and explain them offline
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Policies: what machines must prove
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Baselines: what good machines' boots measure
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Records of decisions and of operators' actions
    #[command(subcommand)]
    Record(RecordCommand),
    /// Configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Explain a reason code: meaning, likely cause, next step
    #[command(
        after_help = "Examples:\n  hallmark reason HM-VERIFY-0409\n  hallmark reason HM-STORE      every code that begins so"
    )]
    Reason {
        /// The code, or the start of several
        #[arg(value_name = "CODE")]
        code: String,
    },
    /// Check the server and say how to fix what is wrong
    Doctor,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  hallmark completion bash > /etc/bash_completion.d/hallmark")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages, as packages carry them, into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        folder: PathBuf,
    },
    /// Print this program's version
    Version,
}

/// How a command that changes something behaves.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Change {
    /// Show what would change and exit with 7; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How a destructive command behaves.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Destruction {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Do it without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// How a command that changes rules behaves.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RuleChange {
    #[command(flatten)]
    pub(crate) how: Destruction,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

/// A file to write. `-o json` means the form of the output, where a command writes no file.
pub(crate) fn out_path(text: &str) -> Result<PathBuf, String> {
    match text {
        "json" | "yaml" | "table" => Err(format!(
            "this command writes a file, and {text} is a form of output (--output {text}); for a file of that name say ./{text}"
        )),
        _ => Ok(text.into()),
    }
}
