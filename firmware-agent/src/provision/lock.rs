//! One installation of this machine at a time.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::error::ProvisionError;
use crate::AgentError;

const FILE: &str = "provision.lock";

/// Held for as long as this process installs the machine; the kernel gives it back when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in the agent's data folder.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be made.
    pub(super) fn take(folder: &Path) -> Result<Self, ProvisionError> {
        let path = folder.join(FILE);
        let failed = |detail: String| AgentError::System {
            detail: format!("{}: {detail}", path.display()),
        };
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|error| failed(error.to_string()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(ProvisionError::Runs {
                lock: path.display().to_string(),
            }),
            Err(error) => Err(failed(error.to_string()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hallmark_reason::Coded as _;

    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let second = Lock::take(folder.path()).unwrap_err();
        assert_eq!(second.code().as_str(), "HM-AGENT-0056");
        assert!(second.compared().unwrap().contains("provision.lock"), "{second:?}");
        drop(first);
        Lock::take(folder.path()).unwrap();
        let away = Lock::take(&folder.path().join("away")).unwrap_err();
        assert!(
            matches!(away, ProvisionError::Agent(AgentError::System { .. })),
            "{away:?}"
        );
    }
}
