//! SIGHUP: the configuration is read again, and what can be applied without a restart is.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_host::{
    ReloadError, changed_keys,
    log::{self, Log},
    notify, reloading,
};
use hallmark_policy::signed::KeyId;
use hallmark_verify::Revocation;
use secrecy::{ExposeSecret as _, SecretString};
use toml::Table;

use crate::{
    config::{Config, ConfigError, Source},
    lifecycle,
    policy_files::{self, PolicyFileError},
    revocation,
    state::Server,
};

/// The keys, and the tables (with a dot at their end), that are applied at once. All others take a restart.
const APPLIED: [&str; 14] = [
    "admin_ids",
    "attestation.tpm2.allowed_classes",
    "attestation.tpm2.crl_grace",
    "attestation.tpm2.crls",
    "attestation.tpm2.deny.",
    "attestation.tpm2.ek_inventory",
    "attestation.tpm2.ek_roots",
    "attestation.tpm2.ek_templates",
    "attestation.tpm2.ek_templates_by_manufacturer.",
    "attestation.tpm2.expired_ek_certificates",
    "attestation.tpm2.require_inventory",
    "attestation.tpm2.revocation",
    "limits.",
    "log.level",
];

/// What is in force, for what is read later to be held against.
#[derive(Debug)]
pub(crate) struct Reload {
    source: Arc<Source>,
    /// The keys of the start: what takes a restart is as it was then.
    started: Table,
    /// The keys that were read last.
    last: Table,
    pin: SecretString,
    operator_keys: Vec<KeyId>,
}

impl Reload {
    /// The configuration of the start, and where it came from.
    pub(crate) fn new(source: Source, config: &Config) -> Self {
        Self {
            source: Arc::new(source),
            started: config.written.clone(),
            last: config.written.clone(),
            pin: config.hsm.pin.clone(),
            operator_keys: config.operator_keys.ids().collect(),
        }
    }

    /// Reads the configuration again and applies it; the log and the service manager are told what became of it.
    pub(crate) async fn reload(&mut self, server: &Arc<Server>, log: &Log) {
        reloading();
        let source = Arc::clone(&self.source);
        let status = match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(config)) => self.apply(server, log, config).await,
            Ok(Err(error)) => refused(error),
            Err(error) => {
                tracing::error!(%error, "the configuration was not read again");
                "the configuration was not read again".to_owned()
            }
        };
        notify(&format!("READY=1\nSTATUS={status}"));
    }

    async fn apply(&mut self, server: &Arc<Server>, log: &Log, config: Config) -> String {
        let restart = self.takes_restart(&config);
        let mut changed = changed_keys(&self.last, &config.written);
        changed.retain(|key, _| is_applied(key));
        self.last.clone_from(&config.written);

        log.set_filter(&config.log.filter);
        server.limits.set(config.limits);
        server.admin_ids.store(Arc::new(config.admin_ids.clone()));
        if let Err(error) = trust(server, config).await {
            // What was not done for a node now is made up for.
            log::error(&error);
        }
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

    /// What differs from the start and is not applied.
    fn takes_restart(&self, config: &Config) -> BTreeMap<String, (String, String)> {
        let mut keys = changed_keys(&self.started, &config.written);
        keys.retain(|key, _| !is_applied(key));
        let other = |content: &str| (format!("another {content}"), format!("this {content}"));
        if self.pin.expose_secret() != config.hsm.pin.expose_secret() {
            keys.entry("hsm.pin".to_owned()).or_insert_with(|| other("PIN"));
        }
        if !config.operator_keys.ids().eq(self.operator_keys.iter().copied()) {
            let key = "policy.operator_keys".to_owned();
            keys.entry(key).or_insert_with(|| other("content of the files"));
        }
        keys
    }
}

fn is_applied(key: &str) -> bool {
    let is = |applied: &&str| *applied == key || applied.ends_with('.') && key.starts_with(*applied);
    APPLIED.iter().any(is)
}

fn refused(error: ConfigError) -> String {
    let error = ReloadError::Refused { fault: Box::new(error) };
    log::error(&error);
    error.to_string()
}

/// Whom the server trusts, and what it demands: held against every node that is known.
async fn trust(server: &Arc<Server>, config: Config) -> Result<(), PolicyFileError> {
    let mut trust = config.tpm2.trust;
    let mut lists = Revocation::clone(&trust.revocation);
    revocation::follow(server, &mut lists, &server.lifecycle.trust().revocation);
    trust.revocation = Arc::new(lists);
    server.attestation.crls.store(Arc::new(config.tpm2.crls));
    let relinked = lifecycle::set_trust(server, trust).await;
    // Attestations that were judged by what was before have come to their end, or will find that it changed.
    server.agents.settle().await;
    let revoked = revocation::hold_against_nodes(server).await.map(drop);
    let ruled = policy_files::set_rules(server, config.tpm2.rules).await;
    if let Ok(true) = relinked {
        policy_files::judge_linked(server).await;
    }
    revoked
        .and(ruled)
        .and(relinked.map(drop).map_err(PolicyFileError::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_applied_by_name_and_tables_as_a_whole() {
        for key in [
            "limits.connections",
            "attestation.tpm2.deny.eks",
            "attestation.tpm2.ek_templates",
            "attestation.tpm2.ek_templates_by_manufacturer.IFX",
            "log.level",
            "admin_ids",
        ] {
            assert!(is_applied(key), "{key}");
        }
        for key in [
            "log.format",
            "hsm.pin",
            "limits",
            "attestation.tpm2.pcrs",
            "attestation.tpm2.ek_roots2",
        ] {
            assert!(!is_applied(key), "{key}");
        }
    }
}
