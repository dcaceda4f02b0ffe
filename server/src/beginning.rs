//! `hallmark-server authority begin`: an empty store may be used with a token that has keys of this trust domain.

use std::{collections::BTreeSet, path::PathBuf};

use hallmark_host::answer::Form;
use serde_json::{Value, json};

use crate::{
    config::Config,
    errors::StartError,
    run::parts::{self, Opened},
};

/// What the operator says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What was allowed.
#[derive(Debug)]
pub(crate) struct Begun {
    keys: BTreeSet<String>,
    store: PathBuf,
}

impl Begun {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let store = self.store.display();
        if self.keys.is_empty() {
            return format!("nothing is in the way: the next start makes the authority of {store}");
        }
        let keys = self.keys.iter().cloned().collect::<Vec<_>>().join(", ");
        format!("the next start begins anew with the store {store}; the token's keys {keys} may be used with it")
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        json!({ "allowed": self.keys, "store": self.store })
    }
}

/// Lets the next start make an authority although the token has keys that another store knows. The store is made where
/// it is missing. Nothing else opens it meanwhile, so no server runs.
///
/// # Errors
/// [`StartError`] naming the step that failed; then nothing is allowed.
pub(crate) async fn begin(config: &Config, options: &Options) -> Result<Begun, StartError> {
    parts::data_folder(&config.data_dir)?;
    let opened = Opened::open(config).await?;
    let keeper = opened.keeper(config);
    let labels = keeper.keys_in_the_way(&opened.loaded).await?;
    if !labels.is_empty() {
        let by = format!("uid:{}", rustix::process::getuid().as_raw());
        keeper.allow(&labels, &by, &options.reason).await?;
    }
    Ok(Begun {
        keys: labels,
        store: config.store.clone(),
    })
}
