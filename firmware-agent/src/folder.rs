//! Folders that only this agent, or root, may change.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;

/// Who else could change what is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// The folder, or one above it.
    pub(crate) folder: PathBuf,
    /// Why.
    pub(crate) why: String,
}

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Files that are read again: nobody else may make any.
    Files,
    /// A socket: others may put theirs beside it where they cannot take this one away, as in /tmp.
    Socket,
}

/// Looks for others than this process's user and root who may put something of their own in the place of what is in
/// `folder`: by writing to it, or by renaming it or a folder above it.
///
/// # Errors
/// The folder cannot be looked at.
pub(crate) fn foreign(folder: &Path, purpose: Purpose) -> io::Result<Option<Foreign>> {
    let folder = folder.canonicalize()?;
    let us = rustix::process::geteuid().as_raw();
    for (depth, place) in folder.ancestors().enumerate() {
        let metadata = fs::metadata(place)?;
        let foreign = |why: String| {
            let folder = place.to_owned();
            Ok(Some(Foreign { folder, why }))
        };
        if ![ROOT, us].contains(&metadata.uid()) {
            return foreign(format!("it belongs to uid {}", metadata.uid()));
        }
        let mode = metadata.mode();
        let kept = mode & STICKY != 0 && (depth > 0 || purpose == Purpose::Socket);
        if mode & WRITABLE_BY_ALL != 0 && !kept {
            return foreign(format!("everybody may write to it (mode {:04o})", mode & 0o7777));
        }
        if mode & WRITABLE_BY_GROUP != 0 && metadata.gid() != ROOT && !kept {
            return foreign(format!(
                "the group {} may write to it (mode {:04o})",
                metadata.gid(),
                mode & 0o7777
            ));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn is_ours(path: &Path, purpose: Purpose) -> bool {
        foreign(path, purpose).unwrap().is_none()
    }

    #[test]
    fn a_folder_is_ours_if_nobody_else_may_change_what_is_in_it() {
        let stage = tempfile::tempdir().unwrap();
        let (above, folder) = (stage.path().join("above"), stage.path().join("above/folder"));
        fs::create_dir_all(&folder).unwrap();
        for (above_mode, mode, files, socket) in [
            (0o755, 0o700, true, true),
            (0o755, 0o755, true, true),
            (0o755, 0o777, false, false),
            (0o755, 0o1777, false, true),
            (0o777, 0o700, false, false),
            (0o1777, 0o700, true, true),
        ] {
            set(&above, above_mode);
            set(&folder, mode);
            assert_eq!(is_ours(&folder, Purpose::Files), files, "{above_mode:o} {mode:o}");
            assert_eq!(is_ours(&folder, Purpose::Socket), socket, "{above_mode:o} {mode:o}");
        }
    }

    #[test]
    fn a_folder_of_another_user_or_below_one_is_not_ours() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let stage = tempfile::tempdir().unwrap();
        let (above, folder) = (stage.path().join("above"), stage.path().join("above/folder"));
        fs::create_dir_all(&folder).unwrap();
        let way = stage.path().join("way");
        symlink(&folder, &way).unwrap();
        for theirs in [&above, &folder] {
            assert!(is_ours(&way, Purpose::Files));
            chown(theirs, Some(54321), None).unwrap();
            assert!(!is_ours(&way, Purpose::Files) && !is_ours(&way, Purpose::Socket));
            chown(theirs, Some(0), None).unwrap();
        }
        chown(&folder, None, Some(54321)).unwrap();
        assert!(is_ours(&folder, Purpose::Files));
        set(&folder, 0o770);
        assert!(!is_ours(&folder, Purpose::Files));
    }
}
