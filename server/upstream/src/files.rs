//! Files that the configuration names, read when they are used: a renewed token, password or certificate needs no restart.

use std::path::{Path, PathBuf};

use hallmark_host::{SecretError, read_secret};
use hallmark_settings::SecretReference;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::Fault;

/// No token, password or key is longer.
const MAX_SECRET: u64 = 16 * 1024;
/// No file of certificates is longer.
const MAX_FILE: u64 = 1024 * 1024;

/// A file with a secret, and the key of the configuration that names it.
#[derive(Debug, Clone)]
pub(crate) struct SecretFile {
    key: &'static str,
    path: PathBuf,
}

impl SecretFile {
    /// The file of a reference; `credentials` is where systemd put the service's credentials.
    pub(crate) fn new(
        key: &'static str,
        reference: &SecretReference,
        credentials: Option<&Path>,
    ) -> Result<Self, Fault> {
        let path = reference.path(credentials).map_err(|name| Fault::Secret {
            key,
            path: None,
            detail: format!("systemd passes no credentials, and so not {name}"),
        })?;
        Ok(Self { key, path })
    }

    /// Its bytes, if nobody but this user and root may read them. Blocks.
    pub(crate) fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        read_secret(&self.path, MAX_SECRET).map_err(|error: SecretError| self.fault(error))
    }

    /// Its one line. Blocks.
    pub(crate) fn line(&self) -> Result<SecretString, Fault> {
        line(&self.bytes()?).map_err(|why| self.fault(why))
    }

    pub(crate) fn fault(&self, why: impl ToString) -> Fault {
        Fault::Secret {
            key: self.key,
            path: Some(self.path.clone()),
            detail: why.to_string(),
        }
    }
}

/// A secret of one line; the end of the line does not belong to it.
pub(crate) fn line(bytes: &[u8]) -> Result<SecretString, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(char::is_control) {
        return Err("it has more than one line");
    }
    Ok(SecretString::from(text.to_owned()))
}

/// A file that is not a secret. Blocks.
pub(crate) fn plain(key: &'static str, path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |why: String| Fault::configuration(key, format!("{}: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(unreadable("it is not a file of 1 MiB at most".into()));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// The certificates of a file, one at least. Blocks.
pub(crate) fn certificates(key: &'static str, path: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let file = plain(key, path)?;
    hallmark_der::certificates(&file).map_err(|error| Fault::configuration(key, format!("{}: {error}", path.display())))
}

/// Runs what blocks beside the async workers.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Fault::Unreachable {
            detail: format!("a task of this server ended: {error}"),
        }),
    }
}
