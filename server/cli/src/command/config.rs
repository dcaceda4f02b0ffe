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
    /// Show each key with its effective value and where it comes from: file and line, variable, or default
    Explain {
        /// The file
        file: PathBuf,
        /// Which program the file is for; found out from its sections when left out
        #[arg(long, value_enum)]
        kind: Option<Kind>,
    },
    /// Print a configuration with every key and its default
    Defaults {
        /// For which program
        #[arg(long, value_enum)]
        kind: Kind,
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
    match command {
        ConfigCommand::Check { file, kind } => check(context, &file, kind),
        ConfigCommand::Explain { file, kind } => {
            let kind = kind.map_or_else(|| kind_of(&file), Ok)?;
            let form = match context.format {
                Format::Table => "table",
                Format::Json | Format::Yaml => "json",
            };
            let words = ["config", "explain", "-o", form, "--config"].map(OsString::from);
            handed_on(kind, words.into_iter().chain([file.into()]))
        }
        ConfigCommand::Defaults { kind } => handed_on(kind, ["config", "defaults"].map(OsString::from)),
    }
}

/// Has the program itself answer: its output is this one's, its exit code too.
fn handed_on(kind: Kind, words: impl IntoIterator<Item = OsString>) -> Result<Exit, CliError> {
    let program = kind.program();
    let status = Command::new(installed(program)).args(words).status();
    let status = status.map_err(|cause| CliError::Program {
        program: program.into(),
        cause,
    })?;
    Ok(if status.success() { Exit::Done } else { Exit::Usage })
}

fn check(context: &Context, file: &Path, kind: Option<Kind>) -> Result<Exit, CliError> {
    let kind = kind.map_or_else(|| kind_of(file), Ok)?;
    let result = Command::new(installed(kind.program()))
        .args([OsString::from("config"), "check".into(), "--config".into(), file.into()])
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
