//! What an operator types, and what the command line answers.

use crate::show::Show;
use anyhow::{Result, ensure};
use hallmark_kit::binary;
use std::path::Path;
use std::process::Command;

/// Runs `hallmark` with the words of `line` against the server behind `socket`, and shows both.
pub(crate) fn types(show: &Show, socket: &Path, line: &str) -> Result<String> {
    let said = run(socket, line)?;
    show.command(&format!("hallmark {line}"), &said);
    Ok(said)
}

/// The same, unseen.
pub(crate) fn run(socket: &Path, line: &str) -> Result<String> {
    let out = Command::new(binary("hallmark")?)
        .args(line.split_whitespace())
        .env("HALLMARK_ADMIN_SOCKET", socket)
        .output()?;
    ensure!(
        out.status.success(),
        "hallmark {line}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
