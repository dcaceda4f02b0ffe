//! The command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use hallmark_reason::{Coded, Report};

use crate::{config, errors::StartError, run};

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
    let outcome = match Arguments::parse().command {
        Command::Run(file) => load(&file).and_then(run::run),
        Command::Config(ConfigCommand::Check(file)) => load(&file).map(|config| {
            let text = format!(
                "{}: valid, trust domain {}\n",
                file.config.display(),
                config.trust_domain
            );
            // A reader that went away has no use for the line.
            drop(std::io::stdout().write_all(text.as_bytes()));
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{}", Report(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn load(file: &ConfigFile) -> Result<config::Config, StartError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    Ok(config::load(&file.config, credentials.as_deref())?)
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Config(_) => USAGE_OR_CONFIG,
        StartError::Hsm(_) => UNREACHABLE,
        error if error.code().as_str().starts_with("HM-HSM") => UNREACHABLE,
        _ => UNEXPECTED,
    }
}
