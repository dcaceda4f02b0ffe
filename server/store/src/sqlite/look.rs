//! A look at a store that a server may have open.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{SqliteOptions, exclusive, exclusive::beside, files::log_of, open};
use crate::StoreError;

/// A connection that changes nothing. SQLite makes files beside the store to read it; those that were not there go with the
/// look, unless a server needs them by then.
pub(super) struct Look {
    connection: Option<Connection>,
    path: PathBuf,
    made: Vec<PathBuf>,
}

impl Look {
    /// Opens the store at `path`, whatever links lead to it.
    ///
    /// # Errors
    /// When it is not there, or cannot be opened; [`StoreError::StaleLog`] for an empty file beside a log.
    pub(super) fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path().canonicalize();
        let path = path.map_err(|e| exclusive::open_error(options.path(), &e))?;
        open::require_content(&path)?;
        let beside = [log_of(&path), beside(&path, "-shm")];
        let made = beside.into_iter().filter(|file| !file.exists()).collect();
        let mut look = Self {
            connection: None,
            path,
            made,
        };
        look.connection = Some(open::readable(options)?);
        Ok(look)
    }

    /// The file itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no server has the store open.
    pub(super) fn is_alone(&self) -> bool {
        let lock = File::open(beside(&self.path, ".lock"));
        lock.as_ref().is_ok_and(|lock| lock.try_lock().is_ok())
    }

    /// The connection.
    ///
    /// # Errors
    /// Never, as long as the look lasts.
    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or(StoreError::Closed)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        drop(self.connection.take());
        self.made.retain(|file| file.exists());
        if self.made.is_empty() {
            return;
        }
        // Held while they go: a server that starts takes it before it opens the store.
        let lock = File::open(beside(&self.path, ".lock"));
        let is_alone = lock.as_ref().is_ok_and(|lock| lock.try_lock().is_ok());
        let has_content = std::fs::metadata(log_of(&self.path)).is_ok_and(|log| log.len() > 0);
        for file in self.made.drain(..).filter(|_| is_alone) {
            if file == log_of(&self.path) && has_content {
                continue;
            }
            if let Err(error) = std::fs::remove_file(&file) {
                tracing::debug!(file = %file.display(), %error, "a file beside the store stays");
            }
        }
    }
}
