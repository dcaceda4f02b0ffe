//! A copy of a store that a server may have open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    SqliteOptions,
    exclusive::{beside, open_error},
    look::Look,
    mark::MarkFile,
    migrations, open, verify,
    verify::VerifiedJournal,
};
use crate::StoreError;

/// Copies the store into the new file `to`, in one read, and looks at the copy. Until it is whole the copy has another name:
/// what a backup leaves that was cut off is never under the name that was asked for, and the next one takes its place.
pub(super) fn backup(options: &SqliteOptions, to: &Path) -> Result<Option<VerifiedJournal>, StoreError> {
    let look = Look::open(options)?;
    let connection = look.connection()?;
    let schema = migrations::recognise(options.path(), connection)?;
    if schema == 0 {
        return Err(StoreError::Foreign {
            path: options.path().into(),
        });
    }
    open::require_trust_domain(options, connection)?;
    // What went back is no store to keep: it would take the place of backups that have more.
    MarkFile::read(look.path())?.require_in(connection, schema)?;
    let to = place(look.path(), to)?;
    let part = Part::create(&to)?;
    let verified = copy(options, connection, &part.path)?;
    part.put(&to)?;
    Ok(verified)
}

/// The new file, by its whole path: SQLite would take some names for addresses.
///
/// # Errors
/// When it is there already, its folder is not, or its name is one of the store's own files.
fn place(store: &Path, to: &Path) -> Result<PathBuf, StoreError> {
    let failed = |e: std::io::Error| open_error(to, &e);
    let no_name = || StoreError::Open {
        path: to.into(),
        reason: "it has no file name".into(),
    };
    let (folder, name) = (to.parent().ok_or_else(no_name)?, to.file_name().ok_or_else(no_name)?);
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let place = folder.canonicalize().map_err(failed)?.join(name);
    let store_is_its_begin = || {
        let own = store.file_name().unwrap_or_default().as_encoded_bytes();
        place.parent() == store.parent() && name.as_encoded_bytes().starts_with(own)
    };
    match fs::symlink_metadata(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        Ok(_) => Err(StoreError::BackupExists { path: to.into() }),
        Err(_) if store_is_its_begin() => Err(StoreError::Open {
            path: to.into(),
            reason: format!(
                "SQLite keeps files of the store {} under names like this",
                store.display()
            ),
        }),
        Err(_) => Ok(place),
    }
}

/// A copy that is being made. It is locked, so that two backups do not write into one; and goes, unless it was put.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// A new file that only its owner can read, in the place of what a backup left that was cut off.
    fn create(to: &Path) -> Result<Self, StoreError> {
        let path = beside(to, ".part");
        let failed = |e: std::io::Error| open_error(&path, &e);
        let found = fs::symlink_metadata(&path);
        if found.is_ok_and(|found| !found.is_file()) {
            return Err(StoreError::BackupExists { path });
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // What was cut off is not the copy's begin.
        file.set_len(0).map_err(failed)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(private).map_err(failed)?;
        let part = Self { path, file };
        part.remove_journal();
        Ok(part)
    }

    /// Flushes the copy and gives it its name, unless there is a file of that name by now.
    fn put(self, to: &Path) -> Result<(), StoreError> {
        let put = || {
            self.file.sync_all()?;
            // Nothing that came there meanwhile is replaced.
            renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE)?;
            File::open(to.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        put().map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => StoreError::BackupExists { path: to.into() },
            _ => open_error(to, &error),
        })
    }

    fn remove_journal(&self) {
        let journal = beside(&self.path, "-journal");
        if journal.exists() {
            remove(&journal);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.remove_journal();
        if self.path.exists() {
            remove(&self.path);
        }
    }
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

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "what was begun of the backup stays");
    }
}
