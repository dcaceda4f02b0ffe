//! One server per file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::StoreError;

/// How long to wait for the lock: a server that just ended, and whose children are between fork and exec, still holds
/// it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock on `<file>.lock`. The kernel gives it back when the process ends, however it ends; the lock file
/// itself stays, as removing it would open a race.
pub(super) struct Exclusive {
    _file: File,
}

impl Exclusive {
    /// Takes the lock, or says who is in the way.
    pub(super) fn acquire(path: &Path) -> Result<Self, StoreError> {
        let file = open_private(&lock_path(path)).map_err(|e| open_error(path, &e))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }),
                Err(TryLockError::Error(e)) => return Err(open_error(path, &e)),
            }
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
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
