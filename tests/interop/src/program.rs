//! Clients in other languages, as child processes that say JSON, one line an event.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A running client. It is killed when dropped.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

/// The Python client in one of its modes; `None` if `tests/interop/setup` has not made its environment.
#[must_use]
pub fn python(mode: &str) -> Option<Command> {
    let interpreter = root().join("target/venv/bin/python");
    interpreter.exists().then(|| {
        let mut command = Command::new(interpreter);
        command.arg(root().join("tests/interop/python/client.py")).arg(mode);
        command
    })
}

/// The Go client in one of its modes; `None` if `tests/interop/setup` has not built it.
#[must_use]
pub fn go(mode: &str) -> Option<Command> {
    let program = root().join("target/interop/go-client");
    program.exists().then(|| {
        let mut command = Command::new(program);
        command.arg(mode);
        command
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Program {
    /// Starts a client of the Workload API at `endpoint`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, endpoint: &str) -> Result<Self> {
        command.env("SPIFFE_ENDPOINT_SOCKET", endpoint).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next event, for which it has 15 seconds.
    ///
    /// # Errors
    /// When none comes, or it is no JSON.
    pub fn event(&self) -> Result<Value> {
        match self.lines.recv_timeout(Duration::from_secs(15)) {
            Ok(line) => serde_json::from_str(&line).with_context(|| format!("no JSON: {line:?}")),
            Err(RecvTimeoutError::Timeout) => bail!("the client said nothing for 15 seconds"),
            Err(RecvTimeoutError::Disconnected) => bail!("the client ended without a word"),
        }
    }

    /// Whether an event is there within this time.
    #[must_use]
    pub fn is_silent_for(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
