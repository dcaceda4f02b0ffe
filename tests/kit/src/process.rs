//! Child processes that end with the lab, whatever ends the lab.

use crate::LabError;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait for a part end with [`LabError::Interrupted`], now and later: the user wants out.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// A running child. Dropping it stops it (SIGTERM, then SIGKILL).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output in a log file. The kernel sends it SIGTERM if the thread that
    /// started it ends, so that a killed lab leaves nothing running.
    ///
    /// # Errors
    /// When the program or its log file cannot be opened.
    pub fn start(name: &str, program: &Path, args: &[String], env: &[(String, String)], log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|_| LabError::ProgramMissing("setpriv".into()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds its output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Waits until `ready` holds.
    ///
    /// # Errors
    /// [`LabError::Ended`] when the child ends first, [`LabError::NotReady`] when time runs out.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), LabError> {
        let start = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            if INTERRUPTED.load(Ordering::SeqCst) {
                return Err(LabError::Interrupted);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let (name, log) = (self.name.clone(), self.log_tail());
                return Err(LabError::Ended {
                    name,
                    status: status.to_string(),
                    log,
                });
            }
            if start.elapsed() > limit {
                let (name, log) = (self.name.clone(), self.log_tail());
                return Err(LabError::NotReady {
                    name,
                    seconds: limit.as_secs(),
                    log,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// Waits for the child's own end.
    ///
    /// # Errors
    /// [`LabError::NotReady`] when it has not ended in time.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, LabError> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            if start.elapsed() > limit {
                let (name, log) = (self.name.clone(), self.log_tail());
                return Err(LabError::NotReady {
                    name,
                    seconds: limit.as_secs(),
                    log,
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The child is not reaped yet, so the pid is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it at once (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end and waits; kills it if it does not.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::TERM);
        if self.wait_exit(Duration::from_secs(10)).is_err() {
            self.kill();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
