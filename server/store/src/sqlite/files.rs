//! The store's files, as the writer knows them: nobody else changes, removes or replaces them.

use std::{
    fs::{Metadata, metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::exclusive::beside;
use crate::StoreError;

/// How a file was when it was written last: its size and its time of change (seconds, nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) at: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            size: found.size(),
            at: (found.mtime(), found.mtime_nsec()),
        }
    }

    /// The stamp of the file at `path`, if it is there.
    pub(super) fn at(path: &Path) -> Option<Self> {
        metadata(path).ok().map(|found| Self::of(&found))
    }
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// The database file and its write-ahead log.
pub(super) struct Files {
    path: PathBuf,
    log: PathBuf,
    file: Option<Identity>,
    log_file: Option<Identity>,
    /// Commits go to the log; the file itself changes by a checkpoint alone.
    stamp: Option<Stamp>,
}

impl Files {
    /// The files as they are now.
    pub(super) fn new(path: &Path) -> Self {
        let log = log_of(path);
        let identity = |path: &Path| metadata(path).ok().map(|found| identity(&found));
        Self {
            file: identity(path),
            log_file: identity(&log),
            stamp: Stamp::at(path),
            path: path.to_owned(),
            log,
        }
    }

    /// Refuses files that are no longer those that were opened. SQLite goes on writing to a file that has no name any more:
    /// what is acknowledged then is lost.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::LogGone`], or [`StoreError::OtherWriter`].
    pub(super) fn require_ours(&self) -> Result<(), StoreError> {
        let path = || self.path.clone();
        let file = metadata(&self.path).ok();
        if file.as_ref().map(identity) != self.file {
            return Err(StoreError::Gone { path: path() });
        }
        if metadata(&self.log).ok().as_ref().map(identity) != self.log_file {
            return Err(StoreError::LogGone { path: path() });
        }
        match (file.as_ref().map(Stamp::of), self.stamp) {
            (found, known) if found == known => Ok(()),
            (found, known) => Err(StoreError::OtherWriter {
                path: path(),
                how: format!(
                    "the file was written: {}, after the server's own last write {}",
                    told(found),
                    told(known)
                ),
            }),
        }
    }

    /// Takes the file as it is now: a checkpoint has written it.
    pub(super) fn renew(&mut self) {
        self.stamp = Stamp::at(&self.path);
    }

    /// The file, as it was written last.
    pub(super) const fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }
}

/// A stamp in words.
pub(super) fn told(stamp: Option<Stamp>) -> String {
    stamp.map_or_else(
        || "no file".into(),
        |stamp| format!("{} bytes at {}.{:09}", stamp.size, stamp.at.0, stamp.at.1),
    )
}

/// The write-ahead log of the store at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}
