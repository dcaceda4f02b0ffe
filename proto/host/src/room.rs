//! How much room a disk has left.

use std::{io, path::Path};

use rustix::fs::statvfs;

/// Less than this is no room to work with: a few writes of a store or a state.
const LEAST: u64 = 1 << 20;

/// Whether there is hardly any room left where `path` lies; then how much there is, in words. Quotas are not seen.
///
/// # Errors
/// When the system does not tell.
pub fn out_of_room(path: &Path) -> io::Result<Option<String>> {
    let disk = statvfs(path)?;
    let room = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok((room < LEAST).then(|| format!("{room} bytes of room left")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(out_of_room(folder.path()).unwrap(), None, "the control");
        let none = "0 bytes of room left";
        assert_eq!(out_of_room(Path::new("/proc")).unwrap().as_deref(), Some(none));
        assert!(out_of_room(&folder.path().join("missing")).is_err());
    }
}
