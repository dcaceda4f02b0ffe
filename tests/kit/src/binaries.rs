//! Finds the project's own programs.

use crate::LabError;
use std::path::PathBuf;

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
