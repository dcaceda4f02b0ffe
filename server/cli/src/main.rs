//! The operator's command line: `hallmark`.
//!
//! It is a client of the server's admin socket; `evidence` works on files alone, with no server. Data goes to stdout, talk to stderr; the exit
//! code tells scripts what happened (`hallmark --help` lists them).

mod args;
mod client;
mod command;
mod duration;
mod error;
mod exit;
mod lookup;
mod output;
mod table;
mod timestamp;
mod view;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

use crate::{args::Args, exit::Exit, output::say};

fn main() -> ExitCode {
    let args = match Args::try_parse_from(typed(std::env::args_os())) {
        Ok(args) => args,
        // Help and version are answers, everything else is wrong usage; clap knows which stream is whose.
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&error.report());
            error.exit().into()
        }
    }
}

/// `evidence import` writes a file and shows nothing, so there `-o` names that file and not a form of output.
fn typed(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = Vec::new();
    let (mut before, mut imports) = (OsString::new(), false);
    for word in arguments {
        imports |= before == "evidence" && word == "import";
        before.clone_from(&word);
        words.push(if imports && word == "-o" { "--out".into() } else { word });
    }
    words
}

fn run(args: Args) -> Result<Exit, error::CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(error::CliError::Runtime)?;
    runtime.block_on(command::run(args))
}
