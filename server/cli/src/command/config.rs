//! `hallmark config`: the file is read by the very program it is for.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Subcommand, ValueEnum};

use super::Context;
use crate::{
    error::CliError,
    exit::Exit,
    output::{Format, say, show},
    view::check::ConfigView,
};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a server's or an agent's configuration file; nothing is started
    #[command(after_help = "Examples:
  hallmark config check /etc/hallmark/server.toml
  hallmark config check agent.toml --kind agent")]
    Check {
        /// The file
        file: PathBuf,
        /// Which program the file is for; found out from its sections when left out
        #[arg(long, value_enum)]
        kind: Option<Kind>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// hallmark-server
    Server,
    /// hallmark-agent
    Agent,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Server => "hallmark-server",
            Self::Agent => "hallmark-agent",
        }
    }
}

pub(crate) fn run(context: &Context, command: ConfigCommand) -> Result<Exit, CliError> {
    let ConfigCommand::Check { file, kind } = command;
    let kind = match kind {
        Some(kind) => kind,
        None => kind_of(&file)?,
    };
    let result = Command::new(installed(kind.program()))
        .args([
            OsString::from("config"),
            "check".into(),
            "--config".into(),
            file.clone().into(),
        ])
        .output()
        .map_err(|cause| CliError::Program {
            program: kind.program().into(),
            cause,
        })?;
    let report = [result.stdout, result.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let report = report.join("\n").trim().to_owned();
    let ok = result.status.success();
    if context.format == Format::Table && !report.is_empty() {
        say(&report);
    }
    show(
        context.format,
        &ConfigView {
            file: file.display().to_string(),
            kind: kind.name(),
            ok,
            report,
        },
    )?;
    Ok(if ok { Exit::Done } else { Exit::Usage })
}

/// The sections that only one of the two programs has.
fn kind_of(file: &Path) -> Result<Kind, CliError> {
    let text = fs::read_to_string(file).map_err(|cause| CliError::File {
        file: file.to_owned(),
        cause,
    })?;
    // A file that is no TOML at all still names its sections; its own program says what is wrong with it.
    let has = |names: &[&str]| {
        text.lines().map(str::trim).any(|line| {
            let name = line.strip_prefix('[').and_then(|rest| rest.split([']', '.']).next());
            name.is_some_and(|name| names.contains(&name.trim()))
        })
    };
    match (
        has(&["hsm", "listen", "authority", "attestation"]),
        has(&["tpm", "workload_api", "server"]),
    ) {
        (true, false) => Ok(Kind::Server),
        (false, true) => Ok(Kind::Agent),
        _ => Err(CliError::UnknownConfig { file: file.to_owned() }),
    }
}

/// The program beside this one, as packages and builds lay them; else whatever PATH finds.
fn installed(program: &str) -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(program)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| program.into())
}
