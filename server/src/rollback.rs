//! `hallmark-server store accept-rollback`: a store whose journal does not have all that was recorded may be used.

use std::path::PathBuf;

use hallmark_host::answer::Form;
use hallmark_reason::{Coded as _, misleading};
use hallmark_store::{SqliteOptions, SqliteStore, StoreError};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{config::Config, errors::StartError, run::parts};

/// What the operator says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Why, for the record.
    #[arg(long, value_parser = visible)]
    reason: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// A reason that reads as what it is.
fn visible(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("a reason has to say something".to_owned());
    }
    match misleading(text) {
        None => Ok(text.to_owned()),
        Some(found) => Err(format!("the reason has the control or format character {found:?}")),
    }
}

/// What was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    store: PathBuf,
    /// `None` where there was nothing to accept.
    refusal: Option<StoreError>,
}

impl Accepted {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let store = self.store.display();
        let Some(refusal) = &self.refusal else {
            return format!("the store {store} has all that was recorded: nothing to accept");
        };
        let compared = refusal.compared().unwrap_or_default();
        format!("accepted, and on record: {refusal} ({compared}). Do again what was done since, bans first")
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        let refusal = self.refusal.as_ref();
        json!({
            "store": self.store,
            "accepted": refusal.map(|refusal| refusal.code().as_str()),
            "compared": refusal.and_then(StoreError::compared),
        })
    }
}

/// Lets the next start go on with a journal that went back. Nothing else opens the store meanwhile, so no server runs.
///
/// # Errors
/// [`StartError`] naming what is wrong with the store besides; then nothing is accepted.
pub(crate) async fn accept(config: &Config, options: &Options) -> Result<Accepted, StartError> {
    parts::data_folder(&config.data_dir)?;
    let by = format!("uid:{}", rustix::process::getuid().as_raw());
    let opening =
        SqliteOptions::new(&config.store, config.trust_domain.clone()).accept_rollback(by, options.reason.clone());
    let opened = spawn_blocking(move || SqliteStore::open(&opening).map(|store| store.rollback().cloned())).await;
    Ok(Accepted {
        store: config.store.clone(),
        refusal: opened.map_err(|_| StoreError::Closed)??,
    })
}
