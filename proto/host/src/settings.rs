//! Settings files on disk.

use std::{fs, io, path::Path};

/// No settings file is larger, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads a settings file whole.
///
/// # Errors
/// When it cannot be read, is larger than 1 MiB, or is not UTF-8 text.
pub fn read_settings(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > MAX_BYTES {
        let message = format!("it has {size} bytes, at most {MAX_BYTES} are read");
        return Err(io::Error::other(message));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, "version = 1\n").unwrap();
        assert_eq!(read_settings(&path).unwrap(), "version = 1\n");
        fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        let error = read_settings(&path).unwrap_err();
        assert_eq!(error.to_string(), "it has 1048577 bytes, at most 1048576 are read");
        assert!(read_settings(&folder.path().join("missing")).is_err());
    }
}
