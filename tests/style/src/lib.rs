//! Reads the repository, for the tests that hold it to its own rules.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The files that git tracks, relative to the root.
///
/// # Errors
/// When git is missing or this is no checkout.
pub fn tracked_files() -> std::io::Result<Vec<PathBuf>> {
    let out = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()?;
    if !out.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&out.stderr).into_owned()));
    }
    Ok(out
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .filter(|path| root().join(path).exists())
        .collect())
}

/// The tracked Rust sources with their text.
///
/// # Errors
/// As [`tracked_files`].
pub fn rust_sources() -> std::io::Result<Vec<(PathBuf, String)>> {
    tracked_files()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| Ok((path.clone(), std::fs::read_to_string(root().join(path))?)))
        .collect()
}
