//! `hallmark-server authority renew`: another certificate for the authority, while the server is stopped.

use std::path::PathBuf;

use hallmark_host::answer::Form;
use serde_json::{Value, json};

use crate::{
    authority::{AuthorityError, date},
    config::Config,
    errors::StartError,
    run::parts::{self, Opened},
};

/// What the operator says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Say what would be done, and do nothing; ends with 7.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What was done, or would be.
#[derive(Debug)]
pub(crate) struct Renewed {
    label: String,
    ended: i64,
    ends: i64,
    store: PathBuf,
    done: bool,
}

impl Renewed {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self { label, ended, ends, .. } = self;
        let (ended, ends) = (date(*ended), date(*ends));
        if self.done {
            format!("the authority's certificate was renewed: key {label}, from {ended} to {ends}; start the server")
        } else {
            format!("would renew the authority's certificate: key {label}, from {ended} to {ends}")
        }
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        json!({
            "renewed": self.done, "key": self.label, "store": self.store,
            "ended": date(self.ended), "ends": date(self.ends),
        })
    }
}

/// Renews the authority's certificate for `ca_ttl` from now. Nothing else opens the store meanwhile, so no server runs.
///
/// # Errors
/// [`StartError`] naming the step that failed; then the authority is as it was, and a record may tell of the attempt.
pub(crate) async fn renew(config: &Config, options: &Options) -> Result<Renewed, StartError> {
    // Opening the store would make it.
    if !config.store.exists() {
        return Err(AuthorityError::None.into());
    }
    parts::data_is_ours(&config.data_dir)?;
    let opened = Opened::open(config).await?;
    let keeper = opened.keeper(config);
    let renewal = keeper
        .prepare_renewal(&opened.loaded, config.lifetimes.authority)
        .await?;
    let renewed = Renewed {
        label: renewal.label().to_owned(),
        ended: renewal.ended,
        ends: renewal.ends,
        store: config.store.clone(),
        done: !options.dry_run,
    };
    if renewed.done {
        let by = format!("uid:{}", rustix::process::getuid().as_raw());
        keeper.carry_out(renewal, &by, &options.reason).await?;
    }
    Ok(renewed)
}
