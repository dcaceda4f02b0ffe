//! Whether the admin socket's file is still there.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use hallmark_reason::{Coded, ReasonCode};

/// The file of the socket is gone, or is another one: operators on this machine do not reach the server.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {} was removed or replaced: no command on this machine reaches the server", path.display())]
pub(crate) struct SocketGone {
    path: PathBuf,
}

impl Coded for SocketGone {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0037")
    }
}

/// The file of a socket that was bound.
#[derive(Debug)]
pub(crate) struct BoundFile {
    path: PathBuf,
    /// Device and inode.
    file: Option<(u64, u64)>,
    told: AtomicBool,
}

impl BoundFile {
    /// The file of the socket that is bound at `path` now.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: file_at(path),
            told: AtomicBool::new(false),
        }
    }

    /// Looks whether it is still there; a change is logged.
    pub(crate) fn failure(&self) -> Option<SocketGone> {
        let is_there = self.file.is_some() && file_at(&self.path) == self.file;
        let gone = (!is_there).then(|| SocketGone {
            path: self.path.clone(),
        });
        if self.told.swap(!is_there, Ordering::Relaxed) == is_there {
            match &gone {
                Some(gone) => tracing::error!(code = %gone.code(), "{gone}"),
                None => tracing::info!(path = %self.path.display(), "the admin socket is there again"),
            }
        }
        gone
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
