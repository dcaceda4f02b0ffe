//! A copy of a store that a server may have open.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rusqlite::Connection;

use super::{
    SqliteOptions,
    exclusive::{beside, open_error},
    look::Look,
    migrations, open, verify,
    verify::VerifiedJournal,
};
use crate::StoreError;

/// Copies the store into the new file `to`, in one read, and looks at the copy.
pub(super) fn backup(options: &SqliteOptions, to: &Path) -> Result<Option<VerifiedJournal>, StoreError> {
    let look = Look::open(options)?;
    let connection = look.connection()?;
    if migrations::recognise(options.path(), connection)? == 0 {
        return Err(StoreError::Foreign {
            path: options.path().into(),
        });
    }
    open::require_trust_domain(options, connection)?;
    // Kept for the copy, which comes in its place when it is whole.
    create(to)?;
    let part = beside(to, ".part");
    let made = create(&part).and_then(|()| {
        let made = copy(options, connection, &part).and_then(|verified| {
            put(&part, to).map_err(|e| open_error(to, &e))?;
            Ok(verified)
        });
        if made.is_err() {
            remove(&part);
        }
        made
    });
    if made.is_err() {
        remove(to);
    }
    made
}

/// A new file that only its owner can read.
fn create(path: &Path) -> Result<(), StoreError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map(drop).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => StoreError::BackupExists { path: path.into() },
        _ => open_error(path, &error),
    })
}

fn copy(options: &SqliteOptions, store: &Connection, part: &Path) -> Result<Option<VerifiedJournal>, StoreError> {
    let at = |path: &Path, error: &rusqlite::Error| StoreError::from_sqlite(path, error);
    let vacuumed = part.to_str().ok_or_else(|| StoreError::Open {
        path: part.into(),
        reason: "the name is not UTF-8".into(),
    });
    store
        .execute("VACUUM INTO ?1", [vacuumed?])
        .map_err(|error| match at(options.path(), &error) {
            // What has no room, or cannot be written, is the copy.
            StoreError::Full { .. } | StoreError::ReadOnly { .. } | StoreError::Open { .. } => at(part, &error),
            other => other,
        })?;
    let copied = SqliteOptions::new(part, options.trust_domain().clone());
    let copy = open::readable(&copied)?;
    if migrations::recognise(part, &copy)? < migrations::newest() {
        return Ok(None);
    }
    verify::verify(part, &copy, options.trust_domain()).map(Some)
}

/// Flushes the copy, gives it its name and flushes that.
fn put(part: &Path, to: &Path) -> std::io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "what was begun of the backup stays");
    }
}
