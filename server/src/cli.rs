//! The command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use hallmark_host::{keep_memory_private, log};
use hallmark_reason::{Coded, Report};

use tokio::runtime::{Builder, Runtime};

use crate::{
    config::{self, Config, Overrides},
    doctor,
    errors::StartError,
    healthcheck::{self, HealthError},
    run,
};

/// Exit codes of the product: 0 done, 1 unexpected, 2 usage or configuration, 4 cannot reach server, TPM or HSM.
const UNEXPECTED: u8 = 1;
const USAGE_OR_CONFIG: u8 = 2;
const UNREACHABLE: u8 = 4;

/// Judges evidence, issues SVIDs with keys that stay in the HSM, and records every decision.
#[derive(Debug, Parser)]
#[command(name = "hallmark-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Run(ConfigFile),
    /// Work with the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the running server whether it serves.
    Healthcheck {
        #[command(flatten)]
        file: ConfigFile,
        /// Say how each part is doing.
        #[arg(long)]
        verbose: bool,
    },
    /// Examine configuration, data folder, token and running server; change nothing.
    Doctor(ConfigFile),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read and check a configuration and every file that it refers to; change nothing.
    Check(ConfigFile),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, env = "HALLMARK_SERVER_CONFIG", default_value = "/etc/hallmark/server.toml")]
    config: PathBuf,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    match private().and_then(|()| execute(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(Report(&*error).to_string());
            ExitCode::from(exit_code(&*error))
        }
    }
}

/// Before anything secret is in memory.
fn private() -> Result<(), Failure> {
    keep_memory_private().map_err(|error| {
        boxed(StartError::Runtime {
            what: "keeping the memory private",
            cause: error.to_string(),
        })
    })
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(file) => load(&file).and_then(|config| run::run(config).map_err(boxed)),
        Command::Config(ConfigCommand::Check(file)) => load(&file).map(|config| {
            config.tpm2.trust_files.iter().for_each(|file| print(&file.to_string()));
            let trust = &config.tpm2.trust;
            print(&format!(
                "{}: valid, trust domain {}, {} EK roots, {} revocation lists",
                file.config.display(),
                config.trust_domain,
                trust.roots.len(),
                trust.revocation.len(),
            ));
        }),
        Command::Healthcheck { file, verbose } => load(&file).and_then(|config| health(&config, verbose)),
        Command::Doctor(file) => load(&file).and_then(|config| alone()?.block_on(doctor::examine(&config, print))),
    }
}

type Failure = Box<dyn Coded + Send>;

fn boxed(error: impl Coded + Send + 'static) -> Failure {
    Box::new(error)
}

fn load(file: &ConfigFile) -> Result<Config, Failure> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let overrides = Overrides::of(std::env::vars_os()).map_err(|error| boxed(StartError::from(error)))?;
    config::load_over(&file.config, credentials.as_deref(), &overrides).map_err(|error| boxed(StartError::from(error)))
}

fn health(config: &Config, verbose: bool) -> Result<(), Failure> {
    let outcome = alone()?.block_on(healthcheck::ask(&config.listen.admin_socket));
    let parts = match &outcome {
        Ok(status) => status.parts.as_slice(),
        Err(HealthError::NotReady { parts }) => parts.as_slice(),
        Err(_) => &[],
    };
    for part in parts.iter().filter(|_| verbose) {
        print(&healthcheck::line(part));
    }
    outcome.map(|_| print("ready")).map_err(boxed)
}

/// A runtime for one errand.
fn alone() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| {
        boxed(StartError::Runtime {
            what: "the async runtime",
            cause: error.to_string(),
        })
    })
}

fn print(text: &str) {
    // A reader that went away has no use for the line.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn exit_code(error: &(dyn Coded + 'static)) -> u8 {
    let unreachable = error.code().as_str().starts_with("HM-HSM");
    if let Some(StartError::Config(_)) = <dyn std::error::Error>::downcast_ref(error) {
        USAGE_OR_CONFIG
    } else if let Some(HealthError::Silent { .. }) = <dyn std::error::Error>::downcast_ref(error) {
        UNREACHABLE
    } else if unreachable {
        UNREACHABLE
    } else {
        UNEXPECTED
    }
}
