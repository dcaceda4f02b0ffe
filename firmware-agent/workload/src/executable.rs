//! The binary a process runs: its path and its SHA-256.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

/// The largest binary that is hashed, in bytes.
pub(crate) const MAX_BINARY: u64 = 256 << 20;
/// How many binaries' digests are kept.
const MAX_CACHED: usize = 256;
const CHUNK: usize = 64 << 10;

/// What changes when a file's content changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How old a file's times must be before its digest is remembered. Kernels before Linux 6.13 count them in ticks of up to
/// 10 ms: a file that is written twice within one has the same stamp for two contents.
const SETTLED: Duration = Duration::from_secs(2);

impl FileStamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileStamp {
    /// Whether every later change will show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed.max(self.modified);
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
            return false;
        };
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::new(seconds, nanoseconds) + SETTLED)
            .is_some_and(|settled| settled <= now)
    }
}

/// The binary of one process, opened through `/proc/PID/exe`, which leads to the very file that runs
/// whatever its name leads to by now.
#[derive(Debug)]
pub(crate) struct Executable {
    file: File,
    link: PathBuf,
    stamp: FileStamp,
}

impl Executable {
    /// Opens the binary of a process.
    pub(crate) fn of(pid: i32) -> std::io::Result<Self> {
        let exe = format!("/proc/{pid}/exe");
        let file = File::open(&exe)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        Ok(Self {
            link: std::fs::read_link(&exe)?,
            stamp: FileStamp::of(&metadata),
            file,
        })
    }

    /// Whether it is the file with this device and inode. As long as this is held, no other file has them.
    pub(crate) fn is(&self, file: (u64, u64)) -> bool {
        (self.stamp.device, self.stamp.inode) == file
    }

    /// The absolute path, if in the agent's own view of the filesystem it leads to the file that runs.
    ///
    /// A process in a mount namespace of its own, which any user can make, chooses what its paths mean;
    /// and a replaced binary's path now means another file. Both have no path selector.
    pub(crate) fn path(&self) -> Option<&Path> {
        let there = std::fs::metadata(&self.link).ok()?;
        let same = self.link.is_absolute() && (there.dev(), there.ino()) == (self.stamp.device, self.stamp.inode);
        same.then_some(self.link.as_path())
    }
}

/// Device and inode of the file that a process runs now; `None` where it cannot be told.
///
/// It asks the kernel alone, never the file system: that may be a program of the caller's (FUSE, below an overlay of a user
/// namespace of its own), which has the thread wait that serves everybody.
pub(crate) fn running(pid: i32) -> Option<(u64, u64)> {
    let exe = format!("/proc/{pid}/exe");
    let known = statx(CWD, exe, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some((makedev(known.stx_dev_major, known.stx_dev_minor), known.stx_ino))
}

/// SHA-256 digests of binaries, by file.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: Mutex<HashMap<FileStamp, [u8; 32]>>,
}

impl Digests {
    /// The digest of a binary's content. Reads the whole file the first time: blocking.
    pub(crate) fn sha256(&self, executable: &mut Executable, limit: u64) -> std::io::Result<[u8; 32]> {
        let stamp = executable.stamp;
        if let Some(digest) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&stamp) {
            return Ok(*digest);
        }
        let digest = hash(&mut executable.file, limit)?;
        if FileStamp::of(&executable.file.metadata()?) != stamp {
            return Err(std::io::Error::other("the file changed while it was read"));
        }
        if !stamp.is_settled(SystemTime::now()) {
            return Ok(digest);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Few machines run this many different workloads; starting over is simpler than ageing entries.
        if known.len() >= MAX_CACHED {
            known.clear();
        }
        known.insert(stamp, digest);
        Ok(digest)
    }
}

fn hash(file: &mut File, limit: u64) -> std::io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; CHUNK];
    let mut left = limit;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        left = u64::try_from(read)
            .ok()
            .and_then(|read| left.checked_sub(read))
            .ok_or_else(|| std::io::Error::other(format!("larger than {limit} bytes")))?;
        context.update(chunk.get(..read).unwrap_or_default());
    }
    context
        .finish()
        .as_ref()
        .try_into()
        .map_err(|_| std::io::Error::other("digest of another length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::tests::copied;

    fn me() -> Executable {
        Executable::of(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn the_digest_is_that_of_the_running_binary_and_is_remembered() {
        let digests = Digests::default();
        while !me().stamp.is_settled(SystemTime::now()) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = digest::digest(&digest::SHA256, &bytes);
        assert_eq!(digests.sha256(&mut me(), MAX_BINARY).unwrap(), expected.as_ref());
        // A remembered digest needs no reading, so even a limit of nothing does not stop it.
        assert_eq!(digests.sha256(&mut me(), 0).unwrap(), expected.as_ref());
    }

    #[test]
    fn a_file_that_could_still_change_unseen_is_read_each_time() {
        let settled = SystemTime::now() - SETTLED;
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (i64::try_from(since.as_secs()).unwrap(), i64::from(since.subsec_nanos()))
        };
        let stamp = |modified, changed| FileStamp {
            modified: seconds(modified),
            changed: seconds(changed),
            ..me().stamp
        };
        let (now, future) = (SystemTime::now(), SystemTime::now() + SETTLED);
        assert!(stamp(settled, settled).is_settled(now));
        for (modified, changed) in [(settled, now), (now, settled), (settled, future), (future, settled)] {
            assert!(!stamp(modified, changed).is_settled(now));
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binary");
        let digests = Digests::default();
        for content in ["good", "evil"] {
            std::fs::write(&path, content).unwrap();
            let file = File::open(&path).unwrap();
            let mut executable = Executable {
                link: path.clone(),
                stamp: FileStamp::of(&file.metadata().unwrap()),
                file,
            };
            let expected = digest::digest(&digest::SHA256, content.as_bytes());
            assert_eq!(digests.sha256(&mut executable, MAX_BINARY).unwrap(), expected.as_ref());
            assert!(digests.known.lock().unwrap().is_empty(), "not remembered yet");
        }
    }

    #[test]
    fn a_binary_over_the_limit_is_refused() {
        let size = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
        assert!(Digests::default().sha256(&mut me(), size - 1).is_err());
        assert!(Digests::default().sha256(&mut me(), size).is_ok());
    }

    #[test]
    fn the_path_is_told_only_while_it_leads_to_the_running_file() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy-of-sleep");
        copied(Path::new("/bin/sleep"), &copy);
        let mut child = std::process::Command::new(&copy).arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(Executable::of(pid).unwrap().path(), Some(copy.as_path()));
        std::fs::remove_file(&copy).unwrap();
        copied(Path::new("/bin/sleep"), &copy);
        assert_eq!(
            Executable::of(pid).unwrap().path(),
            None,
            "another file is at the path now"
        );
        let mut replaced = Executable::of(pid).unwrap();
        assert!(
            Digests::default().sha256(&mut replaced, MAX_BINARY).is_ok(),
            "the running file can be hashed"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
