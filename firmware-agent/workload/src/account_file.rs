//! A file of accounts, read again when it changes.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::executable::FileStamp;
use crate::process::read_limited;

/// The largest file that is read, in bytes.
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// What one account file says, as `read` understands it.
#[derive(Debug)]
pub(crate) struct AccountFile<T> {
    path: PathBuf,
    read: fn(&str) -> T,
    last: Mutex<(Found, Arc<T>)>,
}

/// What was found when the file was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Missing,
    Unreadable,
    File(FileStamp),
}

impl<T: Default> AccountFile<T> {
    pub(crate) fn new(path: impl Into<PathBuf>, read: fn(&str) -> T) -> Self {
        Self {
            path: path.into(),
            read,
            last: Mutex::new((Found::Missing, Arc::default())),
        }
    }

    /// What the file says now. One that is missing, cannot be read, or has more than 4 MiB says nothing.
    pub(crate) fn says(&self) -> Arc<T> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = std::fs::metadata(&self.path).map(|metadata| FileStamp::of(&metadata));
        if let Ok(stamp) = &stamp
            && last.0 == Found::File(*stamp)
        {
            return Arc::clone(&last.1);
        }
        let text = stamp.and_then(|stamp| Ok((stamp, read_limited(&self.path.to_string_lossy(), MAX_FILE)?)));
        match text {
            Ok((stamp, text)) => *last = (Found::File(stamp), Arc::new((self.read)(&text))),
            Err(error) => {
                let found = match error.kind() {
                    ErrorKind::NotFound => Found::Missing,
                    _ => Found::Unreadable,
                };
                // Said once, not for every caller.
                if last.0 != found {
                    tracing::warn!(file = %self.path.display(), %error, "an account file cannot be read");
                    *last = (found, Arc::default());
                }
            }
        }
        Arc::clone(&last.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> String {
        text.lines().next().unwrap_or_default().into()
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let file = AccountFile::new(&path, first);
        assert_eq!(*file.says(), "");
        std::fs::write(&path, "one\n").unwrap();
        let read = file.says();
        assert_eq!(*read, "one");
        assert!(Arc::ptr_eq(&read, &file.says()), "an unchanged file is not read again");
        std::fs::write(&path, "other\n").unwrap();
        assert_eq!(*file.says(), "other");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*file.says(), "");
    }

    #[test]
    fn an_oversized_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        let file = AccountFile::new(&path, first);
        let line = "name:x:1:\n";
        let lines = usize::try_from(MAX_FILE).unwrap() / line.len();
        std::fs::write(&path, line.repeat(lines)).unwrap();
        assert_eq!(*file.says(), "name:x:1:");
        std::fs::write(&path, line.repeat(lines + 2)).unwrap();
        assert_eq!(*file.says(), "");
    }
}
