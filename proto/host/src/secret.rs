//! Files that hold secrets: nobody else reads them, writes to them or puts others in their place.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use zeroize::{Zeroize as _, Zeroizing};

use crate::acl::{ANY, READ, Rights};
use crate::folder::{Foreign, foreign_way, other_owner};

const ROOT: u32 = 0;
const FOR_OTHERS: u32 = 0o007;

/// Why a secret is not taken from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Others may read it, write to it, or put a file of theirs in its place.
    #[error("{}: {why}", place.display())]
    Exposed {
        /// The file, or a folder or link on the way to it.
        place: PathBuf,
        /// Who may.
        why: String,
    },
}

/// Reads a secret of at most `limit` bytes, if its file is private: it belongs to this process's user or to root, and
/// nobody else may read it, write to it or replace it. Where it is root's, the process's own group may read it too; that is
/// how systemd hands out credentials.
///
/// # Errors
/// The file cannot be read, is larger, is not a regular file, or is open to others.
pub fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    // A FIFO must not hold up the start.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let exposed = |place: &Path, why| SecretError::Exposed {
        place: place.to_owned(),
        why,
    };
    if let Some(why) = open_to_others(&file, &metadata)? {
        return Err(exposed(path, why));
    }
    if let Some(Foreign { place, why }) = foreign_way(path)? {
        return Err(exposed(&place, why));
    }
    Ok(read(file, limit)?)
}

/// Who else may read or write a file, by owner, mode and access control list.
fn open_to_others(file: &File, metadata: &Metadata) -> io::Result<Option<String>> {
    if let Some(why) = other_owner(metadata) {
        return Ok(Some(why));
    }
    let (mode, group) = (metadata.mode(), metadata.gid());
    let told = mode & 0o7777;
    if mode & FOR_OTHERS != 0 {
        return Ok(Some(format!("everybody may use it (mode {told:04o})")));
    }
    let rights = Rights::of_file(file, metadata)?;
    let own_group = [ROOT, rustix::process::getegid().as_raw()].contains(&group);
    let readable = metadata.uid() == ROOT && own_group && rights.group == READ;
    if rights.group != 0 && !readable {
        return Ok(Some(format!("the group {group} may use it (mode {told:04o})")));
    }
    Ok((rights.named(ANY)).map(|who| format!("its access control list lets {who} use it")))
}

fn read(file: File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room from the start: a buffer that grew would leave copies behind.
    let mut content = Vec::with_capacity(usize::try_from(limit.saturating_add(1)).unwrap_or(0));
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut content);
    if let Err(error) = read {
        content.zeroize();
        return Err(error);
    }
    if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
        content.zeroize();
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(Zeroizing::new(content))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, chown, symlink},
    };

    use super::*;
    use crate::acl::tests::let_another;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn is_exposed(path: &Path) -> bool {
        match read_secret(path, 16) {
            Ok(secret) => {
                assert_eq!(*secret, b"1234");
                false
            }
            Err(SecretError::Exposed { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_secret_is_read_from_a_private_file_alone() {
        let stage = tempfile::tempdir().unwrap();
        let path = stage.path().join("pin");
        fs::write(&path, "1234").unwrap();
        for (mode, exposed) in [
            (0o600, false),
            (0o400, false),
            (0o644, true),
            (0o604, true),
            (0o602, true),
            (0o620, true),
            (0o666, true),
        ] {
            set(&path, mode);
            assert_eq!(is_exposed(&path), exposed, "{mode:o}");
        }
        set(&path, 0o600);
        let_another(&path, 0o4);
        assert!(is_exposed(&path), "a list lets another read it");
        set(&path, 0o600);
        assert!(!is_exposed(&path), "the list's mask lets nobody");
        set(stage.path(), 0o777);
        assert!(is_exposed(&path), "others can put theirs in its place");
        set(stage.path(), 0o1777);
        assert!(!is_exposed(&path), "here they cannot");
        let way = stage.path().join("way");
        symlink(&path, &way).unwrap();
        assert!(!is_exposed(&way));
        set(stage.path(), 0o777);
        assert!(is_exposed(&way));
        set(stage.path(), 0o700);
    }

    #[test]
    fn a_secret_of_roots_may_be_readable_by_the_processs_own_group() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let stage = tempfile::tempdir().unwrap();
        let path = stage.path().join("pin");
        fs::write(&path, "1234").unwrap();
        for (mode, group, exposed) in [
            (0o440, 0, false),
            (0o640, 0, false),
            (0o660, 0, true),
            (0o440, 54321, true),
        ] {
            chown(&path, Some(0), Some(group)).unwrap();
            set(&path, mode);
            assert_eq!(is_exposed(&path), exposed, "{mode:o} {group}");
        }
        chown(&path, Some(54321), Some(0)).unwrap();
        set(&path, 0o400);
        assert!(is_exposed(&path), "it belongs to another user");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let stage = tempfile::tempdir().unwrap();
        let path = stage.path().join("pin");
        fs::write(&path, "12345").unwrap();
        set(&path, 0o600);
        assert!(read_secret(&path, 5).is_ok());
        assert!(matches!(read_secret(&path, 4), Err(SecretError::Unreadable(_))));
        assert!(matches!(read_secret(stage.path(), 5), Err(SecretError::Unreadable(_))));
        let fifo = stage.path().join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(read_secret(&fifo, 5), Err(SecretError::Unreadable(_))));
    }
}
