//! The command that takes up what was written.

use std::{io, os::fd::AsFd as _, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time::timeout};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A shell command.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub(super) command: String,
}

/// Ends whatever a hook started, unless it has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Hook {
    pub(super) fn new(command: String) -> Self {
        Self { command }
    }

    /// Runs it, with all that it starts in a process group of its own; that group ends with the time, or with whoever
    /// waits.
    ///
    /// # Errors
    /// How it ended, for people.
    pub(super) async fn run(&self, folder: &Path, id: &str) -> Result<(), String> {
        self.run_within(LIMIT, folder, id).await
    }

    async fn run_within(&self, limit: Duration, folder: &Path, id: &str) -> Result<(), String> {
        let told = |error: io::Error| format!("it cannot be run: {error}");
        // Its words are no data of this program's.
        let out = io::stderr().as_fd().try_clone_to_owned().map_err(told)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .env("HALLMARK_SVID_DIR", folder)
            .env("HALLMARK_SPIFFE_ID", id)
            .stdin(Stdio::null())
            .stdout(Stdio::from(out))
            .process_group(0)
            .spawn()
            .map_err(told)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(group);
        match timeout(limit, child.wait()).await {
            Ok(Ok(status)) => {
                // What it left running, as a daemon would be, is its own business.
                group.0 = None;
                if status.success() {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                drop(group);
                // It is reaped, so that nothing is left of it.
                let _ = child.wait().await;
                Err(format!("it was ended after {} s", limit.as_secs()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(command: &str, limit: Duration) -> Result<(), String> {
        let hook = Hook::new(command.into());
        hook.run_within(limit, Path::new("/the/folder"), "spiffe://example.org/web")
            .await
    }

    #[tokio::test]
    async fn a_hook_is_told_where_and_who_and_its_end_is_told() {
        let minute = Duration::from_secs(60);
        let knows = "test \"$HALLMARK_SVID_DIR $HALLMARK_SPIFFE_ID\" = '/the/folder spiffe://example.org/web'";
        assert_eq!(run(knows, minute).await, Ok(()));
        assert_eq!(run("exit 3", minute).await, Err("exit status: 3".into()));
        assert_eq!(run("kill -9 $$", minute).await, Err("signal: 9 (SIGKILL)".into()));
    }

    #[tokio::test]
    async fn a_hook_that_does_not_end_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let command = format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; wait", pids.display());
        let ended = run(&command, Duration::from_secs(2)).await;
        assert_eq!(ended, Err("it was ended after 2 s".into()));
        let pids = std::fs::read_to_string(pids).unwrap();
        assert_eq!(pids.lines().count(), 2);
        for pid in pids.lines() {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Whoever is to reap the grandchild may take a moment.
            let start = std::time::Instant::now();
            while !state().is_empty() && !state().contains(") Z ") {
                assert!(start.elapsed() < Duration::from_secs(10), "{pid} still runs");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
