//! Names of users and groups, from `/etc/passwd` and `/etc/group` alone.
//!
//! The C library's name service (LDAP, SSSD, systemd-homed …) is not asked: it would load foreign code
//! into the agent and can block for seconds. Accounts known only there have no `unix:user` and
//! `unix:group` selectors; use `unix:uid` and `unix:gid` for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::executable::FileStamp;
use crate::process::read_limited;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The longest name that becomes a selector, in bytes (Linux allows 32 to useradd, 256 to files).
const MAX_NAME: usize = 256;

type Names = HashMap<u32, Box<str>>;

/// One account file, read again when it changes.
#[derive(Debug)]
pub(crate) struct Accounts {
    file: PathBuf,
    cache: Mutex<Option<(FileStamp, Arc<Names>)>>,
}

impl Accounts {
    /// An account file of the form `name:password:id:…`: passwd(5) or group(5).
    pub(crate) fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            cache: Mutex::new(None),
        }
    }

    /// The names by id, as the file has them now. A file that cannot be read gives no names: a missing
    /// selector denies, it never grants.
    pub(crate) fn names(&self) -> Arc<Names> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = std::fs::metadata(&self.file).map(|metadata| FileStamp::of(&metadata));
        match (&*cache, &stamp) {
            (Some((read, names)), Ok(stamp)) if read == stamp => return Arc::clone(names),
            _ => {}
        }
        let names = stamp.and_then(|stamp| Ok((stamp, read_limited(&self.file.to_string_lossy(), MAX_FILE)?)));
        match names {
            Ok((stamp, text)) => {
                let names = Arc::new(parse(&text));
                *cache = Some((stamp, Arc::clone(&names)));
                names
            }
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "account names cannot be read");
                *cache = None;
                Arc::default()
            }
        }
    }
}

/// The first line of an id names it, as getpwuid(3) has it.
fn parse(text: &str) -> Names {
    let mut names = Names::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // `+` and `-` begin the old NIS compatibility lines, which name nobody themselves.
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with(['+', '-', '#']) {
            continue;
        }
        if let Ok(id) = id.parse() {
            names.entry(id).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_wins_and_broken_lines_name_nobody() {
        let names = parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n+:x:5\n#c:x:6\n:x:7\na:x\nb:x:-1\nc:x:8x\nd:x:9\n");
        let mut found: Vec<_> = names.iter().map(|(id, name)| (*id, &**name)).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, "root"), (9, "d")]);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let accounts = Accounts::new(&file);
        assert!(accounts.names().is_empty());
        std::fs::write(&file, "one:x:1:").unwrap();
        assert_eq!(accounts.names().get(&1).map(|name| &**name), Some("one"));
        let again = accounts.names();
        assert!(
            Arc::ptr_eq(&again, &accounts.names()),
            "an unchanged file is not parsed again"
        );
        std::fs::write(&file, "other:x:1:").unwrap();
        assert_eq!(accounts.names().get(&1).map(|name| &**name), Some("other"));
        std::fs::remove_file(&file).unwrap();
        assert!(accounts.names().is_empty());
    }

    #[test]
    fn an_oversized_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("group");
        let line = "name:x:1:\n";
        let lines = usize::try_from(MAX_FILE).unwrap() / line.len();
        std::fs::write(&file, line.repeat(lines)).unwrap();
        assert_eq!(Accounts::new(&file).names().len(), 1);
        std::fs::write(&file, line.repeat(lines + 2)).unwrap();
        assert!(Accounts::new(&file).names().is_empty());
    }
}
