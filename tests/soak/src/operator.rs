//! What an operator sees and does.

use anyhow::{Context as _, Result, ensure};
use hallmark_kit::hallmark;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the server may take to answer again: it may just have been started.
const PATIENCE: Duration = Duration::from_secs(30);

/// The command line at the server's admin socket.
#[derive(Debug)]
pub(crate) struct Operator {
    socket: PathBuf,
}

impl Operator {
    pub(crate) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    fn asks(&self, words: &[&str]) -> Result<String> {
        let start = Instant::now();
        loop {
            let out = hallmark(&self.socket, words)?;
            if out.status.success() {
                return Ok(String::from_utf8(out.stdout)?);
            }
            let said = String::from_utf8_lossy(&out.stderr);
            ensure!(start.elapsed() < PATIENCE, "hallmark {}: {said}", words.join(" "));
            // Real time: a server that has just been started.
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Registers a workload of this user on the machine of `agent`.
    pub(crate) fn register(&self, name: &str, agent: &str) -> Result<()> {
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self")?);
        let (path, selector) = (format!("/{name}"), format!("unix:uid:{uid}"));
        let words = [
            "entry",
            "create",
            "--spiffe-id",
            &path,
            "--node",
            agent,
            "--selector",
            &selector,
        ];
        self.asks(&words).map(drop)
    }

    fn told(&self, words: &[&str]) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.asks(&[words, &["-o", "json"]].concat())?)?)
    }

    /// The id of the X.509 authority that signs.
    pub(crate) fn active(&self) -> Result<String> {
        let told = self.told(&["authority", "x509", "show"])?;
        let all = told.as_array().context("no list")?;
        let mut active = all
            .iter()
            .filter(|it| it.get("state").is_some_and(|state| state == "active"));
        let id = active
            .next()
            .and_then(|it| it.get("key_id")?.as_str())
            .context("none is active")?;
        Ok(id.to_owned())
    }

    /// Every key in the token has a use; gives how many there are.
    pub(crate) fn require_known_keys(&self) -> Result<usize> {
        let told = self.told(&["hsm", "keys"])?;
        let keys = told.as_array().context("no list")?;
        for key in keys {
            let is_used = key
                .get("use")
                .and_then(|it| it.as_str())
                .is_some_and(|it| !it.is_empty());
            ensure!(is_used, "a key that nobody knows: {key}");
        }
        Ok(keys.len())
    }
}
