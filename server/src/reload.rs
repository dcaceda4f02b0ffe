//! SIGHUP: the configuration is read again, and what can be applied without a restart is.

use std::sync::Arc;

use hallmark_host::{
    InForce, LastReload,
    log::{self, Log},
    read_again, reloaded,
};
use hallmark_policy::signed::KeyId;
use hallmark_spiffe::TrustDomain;
use hallmark_verify::Revocation;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    appraise::{Appraiser, PolicyFileError, RuleChange},
    caller::AdminIds,
    config::{Config, Source},
    journal::Journal,
    limits::Limits,
    nodes,
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

/// What a reload changes.
#[derive(Debug, Clone)]
pub(crate) struct Reloadable {
    pub(crate) journal: Arc<Journal>,
    pub(crate) appraiser: Arc<Appraiser>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) admin_ids: AdminIds,
    pub(crate) last_reload: Arc<LastReload>,
}

/// What is in force, for what is read later to be held against.
#[derive(Debug)]
pub(crate) struct Reload {
    source: Arc<Source>,
    in_force: InForce,
    pin: SecretString,
    operator_keys: Vec<KeyId>,
    trust_domain: TrustDomain,
}

impl Reload {
    /// The configuration of the start, and where it came from.
    pub(crate) fn new(source: Source, config: &Config) -> Self {
        Self {
            source: Arc::new(source),
            in_force: InForce::new(&APPLIED, &config.written),
            pin: config.hsm.pin.clone(),
            operator_keys: config.operator_keys.ids().collect(),
            trust_domain: config.trust_domain.clone(),
        }
    }

    /// Reads the configuration again and applies it; the log and the service manager are told what became of it.
    pub(crate) async fn reload(&mut self, parts: &Reloadable, log: &Log) {
        let (source, ours) = (Arc::clone(&self.source), self.trust_domain.clone());
        let status = match read_again(&parts.last_reload, move || source.load_of(&ours)).await {
            Ok(config) => self.apply(parts, log, config).await,
            Err(status) => status,
        };
        reloaded(&status);
    }

    async fn apply(&mut self, parts: &Reloadable, log: &Log, config: Config) -> String {
        let mut changes = self.in_force.changes(&config.written);
        let other = |content: &str| (format!("another {content}"), format!("this {content}"));
        if self.pin.expose_secret() != config.hsm.pin.expose_secret() {
            let pin = changes.restart.entry("hsm.pin".to_owned());
            pin.or_insert_with(|| other("PIN"));
        }
        if !config.operator_keys.ids().eq(self.operator_keys.iter().copied()) {
            let keys = changes.restart.entry("policy.operator_keys".to_owned());
            keys.or_insert_with(|| other("content of the files"));
        }

        log.set_filter(&config.log.filter);
        parts.limits.set(config.limits);
        parts.admin_ids.set(config.admin_ids.clone());
        if let Err(error) = trust(&parts.journal, &parts.appraiser, config).await {
            // What was not done for a node now is made up for.
            log::error(&error);
        }
        changes.told()
    }
}

/// Whom the server trusts, and what it demands: held against every node that is known.
async fn trust(journal: &Journal, appraiser: &Appraiser, config: Config) -> Result<(), PolicyFileError> {
    let mut trust = config.tpm2.trust;
    let mut lists = Revocation::clone(&trust.revocation);
    appraiser.follow(&mut lists, &journal.state().trust().revocation);
    trust.revocation = Arc::new(lists);
    appraiser.set_crls(config.tpm2.crls);
    appraiser.set_trust(|_| trust.clone()).await?;
    let ruled = async {
        let rules = RuleChange::Configured(config.tpm2.rules);
        appraiser.change_rules(&rules).await?;
        appraiser.judge_behind("the configuration").await
    };
    let ruled = ruled.await;
    let relinked = async {
        nodes::relink(journal).await?;
        appraiser.judge_behind("the inventory").await
    };
    let relinked = relinked.await;
    let revoked = appraiser.hold_against_nodes().await;
    revoked.map(drop).and(ruled.map(drop)).and(relinked.map(drop))
}
