//! Which user a user id counts as.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hallmark_unix::{SubordinateIds, subordinate_ranges};

use crate::account_file::AccountFile;
use crate::accounts::user_ids;

type Ids = HashMap<Box<str>, u32>;

/// The users of this machine: a user id that `/etc/subuid` gives to a user counts as that user.
///
/// The files alone are asked, as for names of accounts: ranges that another source gives out (`subid:` of
/// nsswitch.conf(5)) are not known. Both files are read again when they change.
#[derive(Debug)]
pub struct Users {
    subuid: AccountFile<String>,
    passwd: AccountFile<Ids>,
    joined: Mutex<Option<Joined>>,
}

#[derive(Debug)]
struct Joined {
    subuid: Arc<String>,
    passwd: Arc<Ids>,
    ids: SubordinateIds,
}

impl Users {
    /// By `/etc/subuid` and `/etc/passwd`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::by(Path::new("/etc/subuid"), Path::new("/etc/passwd"))
    }

    /// By files of the form of subuid(5) and passwd(5).
    #[must_use]
    pub fn by(subuid: &Path, passwd: &Path) -> Self {
        Self {
            subuid: AccountFile::new(subuid, str::to_owned),
            passwd: AccountFile::new(passwd, user_ids),
            joined: Mutex::new(None),
        }
    }

    /// The user id of the user whom `uid` counts as.
    #[must_use]
    pub fn counts_as(&self, uid: u32) -> u32 {
        let (subuid, passwd) = (self.subuid.says(), self.passwd.says());
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*joined
            && Arc::ptr_eq(&known.subuid, &subuid)
            && Arc::ptr_eq(&known.passwd, &passwd)
        {
            return known.ids.counts_as(uid);
        }
        let ids = SubordinateIds::new(subordinate_ranges(&subuid), |name| passwd.get(name).copied());
        let counts_as = ids.counts_as(uid);
        *joined = Some(Joined { subuid, passwd, ids });
        counts_as
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (subuid, passwd) = (folder.path().join("subuid"), folder.path().join("passwd"));
        let users = Users::by(&subuid, &passwd);
        assert_eq!(users.counts_as(100_005), 100_005, "no file, no subordinate ids");
        std::fs::write(&subuid, "alice:100000:10\n").unwrap();
        assert_eq!(users.counts_as(100_005), 100_000, "an owner without an account");
        std::fs::write(&passwd, "alice:x:1000:1000::/:/bin/sh\n").unwrap();
        assert_eq!(users.counts_as(100_005), 1000);
        assert_eq!(users.counts_as(100_010), 100_010);
        std::fs::write(&subuid, "alice:100000:20\n").unwrap();
        assert_eq!(users.counts_as(100_010), 1000);
        std::fs::remove_file(&subuid).unwrap();
        assert_eq!(users.counts_as(100_010), 100_010);
    }
}
