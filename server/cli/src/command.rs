//! What each command does.

pub(crate) mod authority;
pub(crate) mod baseline;
pub(crate) mod bundle;
pub(crate) mod config;
mod doctor;
pub(crate) mod entry;
pub(crate) mod evidence;
pub(crate) mod hsm;
pub(crate) mod inventory;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod provision;
mod reason;
pub(crate) mod record;
pub(crate) mod svid;

use std::{path::PathBuf, time::Duration};

use clap::CommandFactory as _;
use hallmark_api::admin::GetStatusRequest;
use hallmark_host::write_manual;

use crate::{
    args::{Args, Change, Command, Destruction},
    client::Client,
    error::CliError,
    exit::Exit,
    output::{Format, confirm, show, write},
    view::{check::VersionView, status::StatusView},
};

/// What every command is given.
pub(crate) struct Context {
    socket: PathBuf,
    timeout: Duration,
    format: Format,
}

impl Context {
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        Client::connect(&self.socket, self.timeout).await
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, CliError> {
    let context = Context {
        socket: args.socket,
        timeout: args.timeout,
        format: args.output,
    };
    match args.command {
        Command::Status => status(&context).await,
        Command::Node(command) => node::run(&context, command).await,
        Command::Inventory(command) => inventory::run(&context, command).await,
        Command::Provision(command) => provision::run(&context, command).await,
        Command::Entry(command) => entry::run(&context, command).await,
        Command::Bundle(command) => bundle::run(&context, command).await,
        Command::Authority(command) => authority::run(&context, command).await,
        Command::Svid(command) => svid::run(&context, command).await,
        Command::Hsm(command) => hsm::run(&context, command).await,
        Command::Evidence(command) => evidence::run(&context, command).await,
        Command::Baseline(command) => baseline::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Record(command) => record::run(&context, command).await,
        Command::Config(command) => config::run(&context, command),
        Command::Reason { code } => reason::run(&context, &code),
        Command::Doctor => doctor::run(&context).await,
        Command::Completion { shell } => completion(shell),
        Command::Manual { folder } => {
            write_manual::<Args>("1", &folder).map_err(|cause| CliError::Write { file: folder, cause })?;
            Ok(Exit::Done)
        }
        Command::Version => {
            show(
                context.format,
                &VersionView {
                    version: env!("CARGO_PKG_VERSION"),
                },
            )?;
            Ok(Exit::Done)
        }
    }
}

async fn status(context: &Context) -> Result<Exit, CliError> {
    let status = context
        .connect()
        .await?
        .admin()
        .get_status(GetStatusRequest {})
        .await?
        .into_inner();
    let status = StatusView::from(status);
    show(context.format, &status)?;
    Ok(if status.is_well() { Exit::Done } else { Exit::Unexpected })
}

fn completion(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "hallmark", &mut script);
    write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

impl Destruction {
    /// Whether to go on to the change; a dry run needs no yes.
    fn is_confirmed(self, question: &str) -> Result<bool, CliError> {
        if self.change.dry_run {
            return Ok(false);
        }
        if self.yes || confirm(question) {
            Ok(true)
        } else {
            Err(CliError::NotConfirmed)
        }
    }
}

impl Change {
    const fn exit(self) -> Exit {
        if self.dry_run { Exit::WouldChange } else { Exit::Done }
    }
}
