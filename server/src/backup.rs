//! `hallmark-server backup`: a copy of the store, which a server may have open.

use std::path::PathBuf;

use hallmark_host::answer::Form;
use hallmark_reason::Coded;
use hallmark_store::{SqliteOptions, SqliteStore, StoreError, VerifiedJournal};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{config::Config, doctor};

/// What the operator says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The new file. With it, a restore needs the token, the configuration and what that names.
    file: PathBuf,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// A copy that was made.
#[derive(Debug)]
pub(crate) struct Saved {
    file: PathBuf,
    bytes: u64,
    /// `None` for a store of an older schema, which is copied as it is.
    verified: Option<VerifiedJournal>,
}

impl Saved {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let (file, bytes) = (self.file.display(), self.bytes);
        match &self.verified {
            None => format!("{file}: {bytes} bytes, of an older schema, unchecked"),
            Some(journal) => format!(
                "{file}: {bytes} bytes, up to revision {} with the chain hash {}",
                journal.revision,
                hex::encode(journal.chain)
            ),
        }
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        let verified = self.verified.as_ref();
        json!({
            "file": self.file,
            "bytes": self.bytes,
            "revision": verified.map(|journal| journal.revision),
            "chain": verified.map(|journal| hex::encode(journal.chain)),
        })
    }

    /// What the look at the copy found, as `doctor` finds it in the store.
    ///
    /// # Errors
    /// The first thing that is not right; the copy stays, and is what the store is.
    pub(crate) fn require_good(self) -> Result<(), Box<dyn Coded + Send>> {
        let found = self.verified.map(doctor::verified).unwrap_or_default();
        found.into_iter().try_for_each(|(_, found)| found.map(drop))
    }
}

/// Copies the store, and looks at the copy.
///
/// # Errors
/// When the file is there already or cannot be written, or the store cannot be read. Then there is no copy.
pub(crate) async fn backup(config: &Config, options: &Options) -> Result<Saved, StoreError> {
    let store = SqliteOptions::new(&config.store, config.trust_domain.clone());
    let file = options.file.clone();
    let copied = spawn_blocking(move || {
        let verified = SqliteStore::backup(&store, &file)?;
        let bytes = std::fs::metadata(&file).map_or(0, |copy| copy.len());
        Ok(Saved { file, bytes, verified })
    });
    copied.await.map_err(|_| StoreError::Closed)?
}
