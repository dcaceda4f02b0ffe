//! SIGHUP: the configuration is read again, and what can be applied without a restart is.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_host::{InForce, LastReload, log::Log, read_again, reloaded};
use tokio::signal::unix::Signal;

use crate::config::{Bootstrap, Config};

/// The keys that are applied at once. All others take a restart.
const APPLIED: [&str; 3] = ["log.level", "server.insecure_bootstrap", "server.trust_bundle"];

/// What is in force, for what is read later to be held against.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    log: Log,
    in_force: InForce,
    bootstrap: Arc<ArcSwap<Bootstrap>>,
    last: Arc<LastReload>,
}

impl Reload {
    /// The configuration of the start, and where it came from.
    #[must_use]
    pub fn new(file: PathBuf, config: &Config, log: Log) -> Self {
        Self {
            file,
            log,
            in_force: InForce::new(&APPLIED, &config.written),
            bootstrap: Arc::clone(&config.bootstrap),
            last: Arc::default(),
        }
    }

    /// How the last one went.
    pub(crate) fn last(&self) -> Arc<LastReload> {
        Arc::clone(&self.last)
    }

    /// Reads the configuration again at each signal, for ever.
    pub(crate) async fn follow(&mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            let file = self.file.clone();
            let status = match read_again(&self.last, move || Config::load(&file)).await {
                Ok(config) => self.apply(&config),
                Err(status) => status,
            };
            reloaded(&status);
        }
        std::future::pending().await
    }

    fn apply(&mut self, config: &Config) -> String {
        let changes = self.in_force.changes(&config.written);
        self.log.set_filter(&config.log.filter);
        // From the next attestation on.
        self.bootstrap.store(config.bootstrap.load_full());
        changes.told()
    }
}
