//! `hallmark-agent api`: what the Workload API has for this process, shown or written to files, for workloads without code
//! of their own.
//!
//! `socket` finds and opens the Workload API, `context` checks what it sends, `files` keeps it in a folder so that no
//! reader finds a key that does not fit, `hook` tells the workload, `watch` goes on with all of it; `jwt` has the tokens.

mod context;
mod error;
mod files;
mod hook;
mod jwt;
mod pem;
mod socket;
mod view;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use hallmark_host::answer::Form;
use hallmark_settings::parse_duration;
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use error::ApiError;

use context::X509Context;
use files::SvidFolder;
use hook::Hook;
use jwt::{FetchJwtArg, ValidateJwtArg};
use socket::{Socket, SocketArg};

/// How long an agent that is starting is waited for between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked of the Workload API.
#[derive(Subcommand)]
pub(crate) enum ApiVerb {
    /// Fetch identities once.
    #[command(subcommand)]
    Fetch(FetchVerb),
    /// Fetch X.509 identities, and again whenever they change, until Ctrl-C or SIGTERM.
    Watch(WatchArg),
    /// Check what somebody else presents.
    #[command(subcommand)]
    Validate(ValidateVerb),
}

/// Which identities.
#[derive(Subcommand)]
pub(crate) enum FetchVerb {
    /// X.509: SVIDs with their keys and bundles.
    X509(FetchArg),
    /// JWT: tokens for an audience, printed to stdout. Whoever reads one can use it until it expires.
    Jwt(FetchJwtArg),
}

/// What is checked.
#[derive(Subcommand)]
pub(crate) enum ValidateVerb {
    /// A JWT-SVID: whether it is valid now, signed by its trust domain, and for this audience.
    Jwt(ValidateJwtArg),
}

/// What `api fetch x509` takes.
#[derive(Args)]
pub(crate) struct FetchArg {
    #[command(flatten)]
    common: CommonArg,
    /// How long an agent that is starting, or has nothing at hand yet, is waited for, for example 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What `api watch` takes.
#[derive(Args)]
pub(crate) struct WatchArg {
    #[command(flatten)]
    common: CommonArg,
    /// A shell command to run after the first fetch and after each change. What it prints goes to stderr; it is tried again until it succeeds, and
    /// ended after 60 seconds. HALLMARK_SVID_DIR and HALLMARK_SPIFFE_ID tell it where and who.
    #[arg(long, value_name = "COMMAND", requires = "write")]
    exec: Option<String>,
}

#[derive(Args)]
struct CommonArg {
    #[command(flatten)]
    socket: SocketArg,
    /// Write svid.pem, key.pem and bundle.pem into this folder.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Print nothing but errors.
    #[arg(long)]
    silent: bool,
    #[command(flatten)]
    form: Form,
}

impl ApiVerb {
    /// Does it, and prints what came of it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) async fn run(self) -> Result<(), ApiError> {
        match self {
            Self::Fetch(FetchVerb::X509(arg)) => fetch(arg).await,
            Self::Fetch(FetchVerb::Jwt(arg)) => arg.run().await,
            Self::Validate(ValidateVerb::Jwt(arg)) => arg.run().await,
            Self::Watch(arg) => {
                let CommonArg {
                    socket,
                    write,
                    silent,
                    form,
                } = arg.common;
                let folder = write.as_deref().map(SvidFolder::open).transpose()?;
                let shown = (!silent).then_some(form.output);
                watch::run(socket.find()?, folder, arg.exec.map(Hook::new), shown).await
            }
        }
    }
}

async fn fetch(arg: FetchArg) -> Result<(), ApiError> {
    let CommonArg {
        socket,
        write,
        silent,
        form,
    } = arg.common;
    let folder = write.as_deref().map(SvidFolder::open).transpose()?;
    let socket = socket.find()?;
    let context = patient(&socket, arg.timeout, async || socket.open().await?.next().await).await?;
    if let Some(folder) = &folder {
        folder.write(&context)?;
    }
    if silent {
        return Ok(());
    }
    view::print(&view::answer(
        form.output,
        &context,
        write.as_deref(),
        SystemTime::now(),
    ))
}

/// The first answer. Until the time is over, an agent that cannot answer yet is asked again.
async fn patient<T>(
    socket: &Socket,
    limit: Duration,
    ask: impl AsyncFn() -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        let asked = timeout_at(end, ask()).await;
        let Ok(answer) = asked else {
            return Err(match last {
                Some(error) => error,
                None => socket.silent(limit).await,
            });
        };
        match answer {
            Err(error) if error.may_pass() && Instant::now() + PAUSE < end => {
                last = Some(error);
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}
