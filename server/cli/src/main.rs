//! The operator's command line: `hallmark`.
//!
//! It is a client of the server's admin socket; `evidence` and `baseline predict` work on files alone, with no server. Data goes to stdout, talk to stderr; the exit
//! code tells scripts what happened (`hallmark --help` lists them).

mod args;
mod client;
mod command;
mod duration;
mod error;
mod exit;
mod kept;
mod lookup;
mod output;
mod progress;
mod table;
mod timestamp;
mod view;

use std::{ffi::OsString, process::ExitCode};

use hallmark_host::usage::{self, Stop};
use hallmark_reason::Report;

use crate::{args::Args, exit::Exit, output::say};

fn main() -> ExitCode {
    let args = match usage::read::<Args>(typed(std::env::args_os())) {
        Ok(args) => args,
        Err(Stop::Answered) => return Exit::Done.into(),
        Err(Stop::Helped) => return Exit::Usage.into(),
        Err(Stop::Wrong(wrong)) => {
            say(&Report(&wrong).to_string());
            return Exit::Usage.into();
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

/// Commands whose business is to write a file: there `-o` names that file and not a form of output.
const WRITE_A_FILE: [(&str, &str); 8] = [
    ("evidence", "import"),
    ("evidence", "save"),
    ("baseline", "predict"),
    ("baseline", "capture"),
    ("baseline", "export"),
    ("baseline", "import"),
    ("policy", "sign"),
    ("policy", "digests"),
];

fn typed(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = Vec::new();
    let (mut before, mut writes) = (OsString::new(), false);
    for word in arguments {
        writes |= WRITE_A_FILE.iter().any(|(noun, verb)| before == *noun && word == *verb);
        before.clone_from(&word);
        words.push(if writes && word == "-o" { "--out".into() } else { word });
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
