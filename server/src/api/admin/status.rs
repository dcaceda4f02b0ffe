//! How the server and its token are doing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hallmark_api::admin::{self, GetHsmStatusResponse, GetStatusResponse, ListHsmKeysResponse};
use hallmark_host::health::Part;
use hallmark_hsm::{KeyInfo, KeyStore, State};
use hallmark_reason::Coded as _;
use hallmark_state::{AuthorityKind, AuthorityState};
use tonic::Status;

use crate::{authority::ActiveAuthority, health::Health, journal::Journal, metrics::Metrics};

/// How the server and its token are doing.
#[derive(Debug)]
pub struct ServerStatus {
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    about: About,
}

/// What stays the same of a server while it runs.
#[derive(Debug, Clone)]
pub struct About {
    /// Where it listens, for people.
    pub address: String,
    /// When it started, in Unix seconds.
    pub started_at: i64,
}

impl ServerStatus {
    /// The status of these parts.
    #[must_use]
    pub const fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        about: About,
    ) -> Self {
        Self {
            journal,
            keys,
            authority,
            health,
            metrics,
            about,
        }
    }

    pub(super) async fn server(&self) -> GetStatusResponse {
        let parts = self.health.parts().await;
        let now = self.journal.clock().unix();
        let journal = self.journal.store().statistics();
        let (nodes, unseen, entries, behind, unjudged) = {
            let state = self.journal.state();
            (
                state.count_nodes(now),
                state.count_unseen(now),
                state.entries().len(),
                state.count_behind(),
                self.journal.unreadable().unjudged(&state, now).len(),
            )
        };
        let authority = self.authority.load();
        let counters = &self.metrics.counters;
        GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: self.journal.trust_domain().to_string(),
            started_at: self.about.started_at,
            address: self.about.address.clone(),
            agents: nodes.admitted,
            agents_banned: nodes.banned,
            agents_pending: nodes.pending,
            agents_suspended: nodes.suspended,
            agents_untrusted: nodes.untrusted,
            agents_active: nodes.active,
            agents_expired: nodes.expired,
            agents_retired: nodes.retired,
            agents_pre_registered: unseen,
            agents_behind: u64::try_from(behind).unwrap_or(u64::MAX),
            agents_unjudged: u64::try_from(unjudged).unwrap_or(u64::MAX),
            journal_revision: journal.revision,
            journal_events: journal.last_event,
            store_bytes: journal.file_bytes,
            store_log_bytes: journal.log_bytes,
            entries: u64::try_from(entries).unwrap_or(u64::MAX),
            verdicts_accepted: counters.accepted.value(),
            verdicts_refused: counters.refused.value(),
            svids_issued: counters.issued.value(),
            authority_subject_key_id: hex::encode(authority.x509.subject_key_id()),
            authority_expires_at: authority.x509.not_after(),
            parts: parts.into_iter().map(message).collect(),
            bundle_sequence: authority.bundle.sequence,
        }
    }

    pub(super) async fn hsm(&self) -> GetHsmStatusResponse {
        let status = self.keys.status();
        let failure = self.health.hsm_failure(&status).await;
        let open = status.state == State::Ready;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        GetHsmStatusResponse {
            module: status.module,
            token_label: status.token.label,
            manufacturer: status.token.manufacturer,
            model: status.token.model,
            serial: status.token.serial,
            firmware: status.token.firmware,
            ready: failure.is_none(),
            code: failure
                .as_ref()
                .map_or_else(String::new, |failure| failure.0.to_string()),
            message: failure.map_or_else(String::new, |failure| failure.1),
            // Sessions are opened with the pool and closed with it.
            sessions_open: if open { count(status.sessions) } else { 0 },
            sessions_max: count(status.sessions),
            signatures: status.signatures,
            failures: status.failures,
            reopened: status.reopened,
            stuck_calls: count(status.stuck),
        }
    }

    pub(super) async fn hsm_keys(&self) -> Result<ListHsmKeysResponse, Status> {
        let keys = self.keys.list().await;
        let keys = keys.map_err(|error| Status::unavailable(format!("{}: {error}", error.code())))?;
        let keys = keys.into_iter().filter(|key| key.label.starts_with("hallmark-"));
        Ok(ListHsmKeysResponse {
            keys: keys.map(|key| self.key(key)).collect(),
        })
    }

    /// What a key is for, and where its authority stands; empty where no row names it. An authority whose certificate was renewed is
    /// told by the newest.
    fn purpose(&self, key: &KeyInfo) -> String {
        let state = self.journal.state();
        let x509 = state.authorities().iter().rfind(|row| row.label == key.label);
        let jwt = state.jwt_keys().iter().find(|row| row.label == key.label);
        let told =
            |kind: AuthorityKind, state: AuthorityState| format!("{}-authority, {}", kind.as_str(), state.as_str());
        let x509 = x509.map(|row| told(AuthorityKind::X509, row.state));
        x509.or_else(|| jwt.map(|row| told(AuthorityKind::Jwt, row.state)))
            .unwrap_or_default()
    }

    fn key(&self, key: KeyInfo) -> admin::HsmKey {
        let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.spki_der);
        admin::HsmKey {
            kind: key.kind.to_string(),
            id: key.id.to_string(),
            sensitive: key.sensitive,
            always_sensitive: key.always_sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            local: key.local,
            sign_only: key.sign_only,
            r#use: self.purpose(&key),
            spki_sha256: hex::encode(spki),
            label: key.label,
        }
    }
}

/// A part as the API tells it.
fn message(part: Part) -> admin::Part {
    admin::Part {
        ok: part.works(),
        name: part.name,
        code: part.code,
        message: part.message,
    }
}
