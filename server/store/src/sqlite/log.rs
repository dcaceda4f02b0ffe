//! The write-ahead log, and when it is folded into the file.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{Connection, config::DbConfig};

/// The log is folded into the file when it has grown by so many pages: SQLite's own number.
const PAGES: u64 = 1000;
/// After so many pages it is looked whether the disk has room for more.
const LOOK: u64 = 64;
/// Where less than this is free, in bytes, the log is folded early: once the disk is full, the file cannot grow by what it takes in.
const SCARCE: u64 = 2 * 1024 * 1024;

/// How far the log has grown.
pub(super) struct Log {
    /// Told by SQLite after each commit.
    pages: Arc<AtomicU64>,
    /// How long it was when it was last folded.
    folded: u64,
    /// How long it was when the disk was looked at last.
    looked: u64,
}

impl Log {
    /// From now on the log is folded by [`fold`](Self::fold) alone, and so it is known when the file changes.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            told.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            pages,
            folded: 0,
            looked: 0,
        })
    }

    /// Whether it has grown enough, or the disk with the store at `path` has hardly any room. Then it counts as folded: what a reader held back is tried again when it has grown
    /// as much once more.
    pub(super) fn is_due(&mut self, path: &Path) -> bool {
        let pages = self.pages.load(Ordering::Relaxed);
        // It begins anew once all of it was folded.
        if pages < self.folded.max(self.looked) {
            (self.folded, self.looked) = (0, 0);
        }
        let mut is_due = pages.saturating_sub(self.folded) >= PAGES;
        if pages.saturating_sub(self.looked) >= LOOK {
            self.looked = pages;
            is_due = is_due || is_scarce(path);
        }
        if is_due {
            self.folded = pages;
        }
        is_due
    }

    /// Folds what no reader holds back into the file.
    pub(super) fn fold(connection: &Connection) -> rusqlite::Result<()> {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Whether the log is left as it is when the connection is closed, or folded into the file.
    pub(super) fn leave(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)
            .map(drop)
    }
}

/// Whether there is hardly any room where the store lies. Quotas are not seen, and a disk that does not say is not known.
fn is_scarce(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < SCARCE)
}
