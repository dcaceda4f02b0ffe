//! Who may approve a new node: people with an account of their own, as far as the machine can tell.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use hallmark_state::{ApproverRefusal, LifecycleError};
use hallmark_unix::subordinate_ranges;
use nix::unistd::{Uid, User};
use tokio::task::spawn_blocking;

use crate::caller::Caller;

const SUBUID: &str = "/etc/subuid";
/// The largest such file that is read, in bytes.
const MAX_SUBUID: u64 = 4 << 20;
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";

/// Who may approve: the users that the configuration lists, or without a list whoever has an account. A user id that
/// `/etc/subuid` gives to some user is nobody's account, listed or not.
#[derive(Debug, Clone, Default)]
pub struct ApproverRule {
    /// Login names, and user ids in digits.
    listed: BTreeSet<String>,
}

impl ApproverRule {
    /// A rule with this list.
    #[must_use]
    pub fn new(listed: BTreeSet<String>) -> Self {
        Self { listed }
    }

    /// The user id of a caller who may approve.
    ///
    /// # Errors
    /// [`LifecycleError::ApproverUnknown`] for a caller that no user stands for, [`LifecycleError::ApproverRefused`] for
    /// one that may not.
    pub(crate) async fn approver(&self, caller: &Caller) -> Result<u32, LifecycleError> {
        let Caller::Local(Some(uid)) = caller else {
            return Err(LifecycleError::ApproverUnknown);
        };
        let (uid, rule) = (*uid, self.clone());
        // Accounts may come from a directory service that answers slowly.
        let looked = spawn_blocking(move || rule.check(uid, Path::new(SUBUID))).await;
        let stopped = |_| Err(ApproverRefusal::Unreadable("the server is stopping".into()));
        match looked.unwrap_or_else(stopped) {
            Ok(()) => Ok(uid),
            Err(why) => Err(LifecycleError::ApproverRefused { uid, why }),
        }
    }

    fn check(&self, uid: u32, subuid: &Path) -> Result<(), ApproverRefusal> {
        if Some(uid) == overflow_uid() {
            return Err(ApproverRefusal::Unmapped);
        }
        if let Some(owner) = owner(uid, subuid)? {
            return Err(ApproverRefusal::Subordinate { owner });
        }
        if self.listed.is_empty() {
            let account = User::from_uid(Uid::from_raw(uid)).map_err(|error| unreadable("the accounts", error))?;
            return account.map(drop).ok_or(ApproverRefusal::NoAccount);
        }
        for listed in &self.listed {
            if is(listed, uid)? {
                return Ok(());
            }
        }
        let listed = self.listed.iter().cloned().collect::<Vec<_>>().join(", ");
        Err(ApproverRefusal::NotListed { listed })
    }
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> ApproverRefusal {
    ApproverRefusal::Unreadable(format!("{what}: {error}"))
}

/// Whether a name, or a user id in digits, is this user's.
fn is(name: &str, uid: u32) -> Result<bool, ApproverRefusal> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(number == uid);
    }
    let user = User::from_name(name).map_err(|error| unreadable("the accounts", error))?;
    Ok(user.is_some_and(|user| user.uid.as_raw() == uid))
}

/// Who else can be this user, by `/etc/subuid`.
fn owner(uid: u32, subuid: &Path) -> Result<Option<String>, ApproverRefusal> {
    let text = match read(subuid) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&subuid.display().to_string(), error)),
    };
    for range in subordinate_ranges(&text).filter(|range| range.contains(uid)) {
        if !is(range.owner, uid)? {
            return Ok(Some(range.owner.to_owned()));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_SUBUID + 1).read_to_string(&mut text)?;
    match u64::try_from(read) {
        Ok(read) if read <= MAX_SUBUID => Ok(text),
        _ => Err(io::Error::other(format!("larger than {MAX_SUBUID} bytes"))),
    }
}

/// The user id that stands for every user which has none here (user_namespaces(7)).
fn overflow_uid() -> Option<u32> {
    std::fs::read_to_string(OVERFLOW_UID).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listed: &[&str], uid: u32, subuid: &str) -> Result<(), ApproverRefusal> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subuid");
        std::fs::write(&path, subuid).unwrap();
        let listed = listed.iter().map(|name| (*name).to_owned()).collect();
        ApproverRule::new(listed).check(uid, &path)
    }

    #[test]
    fn without_a_list_an_account_is_enough() {
        assert_eq!(check(&[], 0, ""), Ok(()));
        assert_eq!(check(&[], 1, ""), Ok(()), "daemon");
        assert_eq!(check(&[], 3_999_999_999, ""), Err(ApproverRefusal::NoAccount));
        assert_eq!(check(&[], overflow_uid().unwrap(), ""), Err(ApproverRefusal::Unmapped));
    }

    #[test]
    fn a_list_is_all_there_is() {
        for listed in [&["daemon"][..], &["1"], &["no-such-user", "daemon"]] {
            assert_eq!(check(listed, 1, ""), Ok(()), "{listed:?}");
            assert!(matches!(check(listed, 0, ""), Err(ApproverRefusal::NotListed { .. })));
        }
    }

    #[test]
    fn a_subordinate_user_is_nobodys_account() {
        let owned = |owner: &str| Err(ApproverRefusal::Subordinate { owner: owner.into() });
        for listed in [&[][..], &["daemon"]] {
            assert_eq!(check(listed, 1, "bin:0:65536\n"), owned("bin"));
            assert_eq!(check(listed, 1, "2:1:1\n"), owned("2"));
            assert_eq!(
                check(listed, 1, "daemon:0:10\nno-such-user:1:1\n"),
                owned("no-such-user")
            );
            // Its own range lends it to nobody.
            assert_eq!(check(listed, 1, "daemon:0:10\n1:1:1\nbin:100000:65536\n"), Ok(()));
        }
    }

    #[test]
    fn who_cannot_be_looked_up_does_not_approve() {
        let folder = tempfile::tempdir().unwrap();
        let rule = ApproverRule::default();
        assert_eq!(rule.check(0, &folder.path().join("missing")), Ok(()), "the control");
        assert!(matches!(
            rule.check(0, folder.path()),
            Err(ApproverRefusal::Unreadable(_))
        ));
        let large = folder.path().join("large");
        std::fs::write(&large, "x".repeat(usize::try_from(MAX_SUBUID).unwrap() + 1)).unwrap();
        assert!(matches!(rule.check(0, &large), Err(ApproverRefusal::Unreadable(_))));
    }
}
