//! SIGHUP: the configuration is read again, and what can be applied without a restart is.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_host::{
    ReloadError, changed_keys,
    log::{self, Log},
    notify, reloading,
};
use tokio::{signal::unix::Signal, task::spawn_blocking};
use toml::Table;

use crate::config::{Bootstrap, Config, ConfigError};

/// The keys that are applied at once. All others take a restart.
const APPLIED: [&str; 3] = ["log.level", "server.insecure_bootstrap", "server.trust_bundle"];

/// What is in force, for what is read later to be held against.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    log: Log,
    /// The keys of the start: what takes a restart is as it was then.
    started: Table,
    /// The keys that were read last.
    last: Table,
    bootstrap: Arc<ArcSwap<Bootstrap>>,
}

impl Reload {
    /// The configuration of the start, and where it came from.
    #[must_use]
    pub fn new(file: PathBuf, config: &Config, log: Log) -> Self {
        Self {
            file,
            log,
            started: config.written.clone(),
            last: config.written.clone(),
            bootstrap: Arc::clone(&config.bootstrap),
        }
    }

    /// Reads the configuration again at each signal, for ever.
    pub(crate) async fn follow(&mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            reloading();
            let file = self.file.clone();
            let status = match spawn_blocking(move || Config::load(&file)).await {
                Ok(Ok(config)) => self.apply(&config),
                Ok(Err(error)) => refused(error),
                Err(error) => {
                    tracing::error!(%error, "the configuration was not read again");
                    "the configuration was not read again".to_owned()
                }
            };
            notify(&format!("READY=1\nSTATUS={status}"));
        }
        std::future::pending().await
    }

    fn apply(&mut self, config: &Config) -> String {
        let mut restart = changed_keys(&self.started, &config.written);
        restart.retain(|key, _| !APPLIED.contains(&key.as_str()));
        let mut changed = changed_keys(&self.last, &config.written);
        changed.retain(|key, _| APPLIED.contains(&key.as_str()));
        self.last.clone_from(&config.written);

        self.log.set_filter(&config.log.filter);
        // From the next attestation on.
        self.bootstrap.store(config.bootstrap.load_full());
        let changed: Vec<_> = changed.into_keys().collect();
        let changed = changed.join(", ");
        tracing::info!(changed, "the configuration was read again");
        if restart.is_empty() {
            return "the configuration was read again".to_owned();
        }
        let error = ReloadError::RestartNeeded { keys: restart };
        log::warn(&error);
        error.to_string()
    }
}

fn refused(error: ConfigError) -> String {
    let error = ReloadError::Refused { fault: Box::new(error) };
    log::error(&error);
    error.to_string()
}
