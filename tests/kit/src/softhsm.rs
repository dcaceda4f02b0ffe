//! A SoftHSM token in a folder of its own.

use crate::LabError;
use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A PKCS#11 token of SoftHSM, with a random PIN in a file.
#[derive(Debug)]
pub struct Token {
    folder: PathBuf,
    label: String,
}

impl Token {
    /// Makes a token.
    ///
    /// # Errors
    /// When `softhsm2-util` is missing or fails.
    pub fn create(folder: &Path, label: &str) -> Result<Self> {
        let tokens = folder.join("tokens");
        std::fs::create_dir_all(&tokens)?;
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        std::fs::write(folder.join("softhsm2.conf"), conf)?;
        let token = Self {
            folder: folder.to_owned(),
            label: label.to_owned(),
        };
        let mut random = [0_u8; 8];
        rand::fill(&mut random).ok().context("no randomness")?;
        let pin = hex::encode(random);
        write_private(&token.pin_file(), &pin)?;
        let out = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                label,
                "--pin",
                &pin,
                "--so-pin",
                &pin,
            ])
            .env("SOFTHSM2_CONF", token.conf())
            .output()
            .map_err(|_| LabError::ProgramMissing("softhsm2-util".into()))?;
        ensure!(
            out.status.success(),
            "softhsm2-util: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(token)
    }

    /// SoftHSM's configuration, for the environment variable `SOFTHSM2_CONF`.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The file that holds the user PIN.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    /// The folder that holds SoftHSM's object files.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The module to load.
    #[must_use]
    pub fn module() -> PathBuf {
        [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        ]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("libsofthsm2.so"))
    }
}

/// Writes a file that its owner alone reads: the server takes a PIN from no other.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
