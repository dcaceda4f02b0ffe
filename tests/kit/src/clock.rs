//! A clock that a test sets, for programs that are started with it (libfaketime).

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The time of day of some programs, as far from the true one as the test says. Their steady clock goes on as it does.
#[derive(Debug)]
pub struct MovedClock {
    file: PathBuf,
    library: PathBuf,
}

impl MovedClock {
    /// A clock that is right, for now; how far it is off is kept in `file`.
    ///
    /// # Errors
    /// When libfaketime is not installed, or the file cannot be written.
    pub fn new(file: &Path) -> Result<Self> {
        let library = ["x86_64", "aarch64"]
            .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .context("libfaketime is missing: scripts/deps installs it")?;
        let clock = Self {
            file: file.to_owned(),
            library,
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it off by so many seconds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // Renamed into place: a program that looks meanwhile sees the one or the other.
        let beside = self.file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n"))?;
        Ok(fs::rename(&beside, &self.file)?)
    }

    /// The environment of a program that lives by it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
