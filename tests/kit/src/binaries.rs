//! Finds the project's own programs.

use crate::LabError;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The path of one of the project's programs: in `HALLMARK_BIN_DIR`, else beside the running program
/// (a test binary lies one folder deeper than the programs).
///
/// # Errors
/// [`LabError::ProgramMissing`] when it is in neither place: the workspace was not built.
pub fn binary(name: &str) -> Result<PathBuf, LabError> {
    let mut places = Vec::new();
    if let Some(dir) = std::env::var_os("HALLMARK_BIN_DIR") {
        places.push(PathBuf::from(dir));
    } else if let Ok(me) = std::env::current_exe() {
        places.extend(me.ancestors().skip(1).take(2).map(PathBuf::from));
    }
    places
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| LabError::ProgramMissing(name.to_owned()))
}

/// Runs the operators' program against the server at this admin socket, with nobody to answer its questions.
///
/// # Errors
/// When the program is not there or does not start.
pub fn hallmark(admin_socket: &Path, words: &[&str]) -> Result<Output> {
    let mut hallmark = Command::new(binary("hallmark")?);
    let hallmark = hallmark.args(words).env("HALLMARK_ADMIN_SOCKET", admin_socket);
    Ok(hallmark.stdin(Stdio::null()).output()?)
}
