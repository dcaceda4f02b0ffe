//! One server per file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::StoreError;

/// How long to wait for the lock: a server that just ended, and whose children are between fork and exec, still holds
/// it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// The locks on `<file>.lock` and on the database file itself, whatever leads to it. The kernel gives them back when the
/// process ends, however it ends; the lock file itself stays, as removing it would open a race.
///
/// They are `flock` locks, which do not meet SQLite's own (`fcntl`). But closing any descriptor of the database file drops
/// SQLite's: so this one is opened before SQLite opens the file, and closed after it. `<file>.lock` comes first, so that a
/// second store in the same process does not come to open the file.
pub(super) struct Exclusive {
    _file: File,
    _beside: File,
}

impl Exclusive {
    /// Takes the locks, or says who is in the way.
    pub(super) fn acquire(path: &Path) -> Result<Self, StoreError> {
        let failed = |e: std::io::Error| open_error(path, &e);
        let beside = open_private(&beside(path, ".lock")).map_err(failed)?;
        lock(path, &beside)?;
        let file = open_private(path).map_err(failed)?;
        // Each name would have a write-ahead log of its own.
        let names = file.metadata().map_err(failed)?.nlink();
        if names > 1 {
            return Err(StoreError::Linked {
                path: path.into(),
                names,
            });
        }
        lock(path, &file)?;
        Ok(Self {
            _file: file,
            _beside: beside,
        })
    }
}

fn lock(path: &Path, file: &File) -> Result<(), StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }),
            Err(TryLockError::Error(e)) => return Err(open_error(path, &e)),
        }
    }
}

/// The file beside the store's whose name ends with `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The database file itself, whatever links lead to it; made where it is missing.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |e: std::io::Error| open_error(path, &e);
    if !path.exists() {
        // SQLite would create the file with the process's umask; its write-ahead log takes over the mode.
        drop(open_private(path).map_err(failed)?);
    }
    path.canonicalize().map_err(failed)
}

/// Opens or creates a file that only its owner can read.
pub(super) fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The error for what the system said about opening the store.
pub(super) fn open_error(path: &Path, error: &std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::Open {
            path,
            reason: error.to_string(),
        },
    }
}
