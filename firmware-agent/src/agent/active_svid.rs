//! The agent's SVID in use: taking it over, its first use, letting its predecessor go.

use std::{sync::Arc, time::SystemTime};

use hallmark_host::log;
use hallmark_spiffe::Bundle;
use hallmark_tpm_wire::PublicArea;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    attestation::{Attestation, authorities},
    channel::Credential,
};
use crate::{
    AgentError,
    agent_svid::AgentSvid,
    attest::{self, Attested},
    attester::NextKey,
    blocking::blocking,
    server_client::ServerClient,
};

/// The SVID in use, and the one before it while that may still be needed.
pub(super) struct ActiveSvid {
    svid: AgentSvid,
    /// Whether a call with it went through.
    is_used: bool,
    previous: Option<Box<ActiveSvid>>,
}

impl ActiveSvid {
    pub(super) const fn svid(&self) -> &AgentSvid {
        &self.svid
    }
}

impl Attestation {
    /// Takes up the SVID of an earlier run: its key is made again from the remembered bytes, which is one command.
    pub(super) async fn recall(&mut self) -> Result<(), AgentError> {
        let trust_domain = self.config.trust_domain.clone();
        let (state, of) = (self.state.clone(), trust_domain.clone());
        let Some(remembered) = blocking(move || state.load(&of)).await? else {
            return Ok(());
        };
        let expected = attest::agent_id(&trust_domain, &remembered.known)?;
        self.attester.recall(remembered.known, remembered.pcrs);
        self.bundle = Some(remembered.bundle.clone());
        let made = self.attester.tpm().svid_key(remembered.unique).await?;
        if !is_for(&remembered.chain, &made.public) {
            tracing::info!("the SVID key of the last run ended with the boot that it was made in; attesting a new one");
            return Ok(self.attester.tpm().release(made.id).await?);
        }
        let key = NextKey {
            unique: remembered.unique,
            id: made.id,
            public: made.public,
            csr: remembered.csr,
        };
        let now = SystemTime::now();
        match AgentSvid::from_chain(&key, remembered.chain, &expected, &remembered.bundle, now) {
            Ok(svid) => {
                tracing::info!(id = %svid.id, serial = svid.serial, "identity of the last run taken up");
                self.peers.issue.set_bundle(remembered.bundle, Vec::new()).await;
                self.activate(svid);
                Ok(())
            }
            Err(AgentError::Clock { .. }) => {
                tracing::info!("the SVID of the last run has expired; its key is attested again");
                self.next_key = Some(key);
                Ok(())
            }
            Err(error) => {
                let _ = self.attester.tpm().release(key.id).await;
                Err(error)
            }
        }
    }

    /// Takes over what an attestation brought, and writes it down before it is used.
    pub(super) async fn adopt(&mut self, attested: Attested) {
        let Attested { svid, bundle } = attested;
        let life = svid.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        tracing::info!(
            id = %svid.id,
            serial = svid.serial,
            valid_for_seconds = life.as_secs(),
            "attested"
        );
        self.bundle = Some(bundle.clone());
        let previous = self.active.take().map(Box::new);
        self.active = Some(ActiveSvid {
            svid,
            is_used: false,
            previous,
        });
        self.save().await;
        self.peers.issue.set_bundle(bundle, Vec::new()).await;
        self.publish();
    }

    fn activate(&mut self, svid: AgentSvid) {
        self.active = Some(ActiveSvid {
            svid,
            is_used: false,
            previous: None,
        });
        self.publish();
    }

    /// Gives the server channel the SVID in use, or takes it away.
    fn publish(&self) {
        let credential = self.active.as_ref().zip(self.bundle.as_ref()).map(|(active, bundle)| {
            let svid = active.svid.clone();
            let (target, trust_domain) = (self.target.clone(), self.config.trust_domain.clone());
            let tpm = self.attester.tpm().clone();
            Credential {
                serial: Arc::from(svid.serial.as_str()),
                bundle: bundle.clone(),
                connect: Arc::new(move |bundle: &Bundle| {
                    ServerClient::new(&target, &trust_domain, authorities(bundle)?, &svid, &tpm)
                }),
            }
        });
        self.peers.credentials.send_replace(credential);
        let valid_until = self.active.as_ref().map(|active| active.svid.not_after);
        self.peers.condition.holds(valid_until);
    }

    /// After the first call with the newest SVID went through: the one before is no longer needed, and the next key can be
    /// made while nobody waits for it.
    pub(super) async fn on_first_use(&mut self) {
        let Some(active) = self.active.as_mut().filter(|active| !active.is_used) else {
            return;
        };
        active.is_used = true;
        if let Some(previous) = active.previous.take() {
            self.release(*previous).await;
        }
        if self.next_key.is_none() {
            match self.attester.next_key().await {
                Ok(key) => self.next_key = Some(key),
                Err(error) => tracing::warn!(%error, "the next key was not made ahead"),
            }
        }
    }

    /// The server does not take the SVID: the one before is used again if it still can be, and an attestation is due after
    /// a pause, which is short where none has just been.
    pub(super) async fn not_accepted(&mut self, message: String) {
        tracing::warn!(
            answer = message,
            "the server does not accept the identity; attesting again"
        );
        let now = SystemTime::now();
        self.must_attest = true;
        self.attest_after = Instant::now() + self.backoff.pause();
        let Some(ActiveSvid { svid, previous, .. }) = self.active.take() else {
            return;
        };
        match previous {
            Some(previous) if previous.svid.is_valid(now) => self.active = Some(*previous),
            Some(previous) => self.release(*previous).await,
            None => {}
        }
        self.publish();
        let _ = self.attester.tpm().release(svid.key).await;
    }

    /// One side of a connection does not know the authority of the other: authorities were replaced while this machine or the server was
    /// away. An attestation brings both together again, over the bundle that is known or the configured one. Whoever is in between may
    /// have said so, and not the server: the SVID stays in use until the attestation has brought another one.
    pub(super) fn strange(&mut self, error: &AgentError) {
        self.peers.condition.not_synced(error);
        if self.must_attest {
            return;
        }
        log::warn(error);
        self.must_attest = true;
        self.attest_after = Instant::now() + self.backoff.pause();
    }

    /// The TPM was reset: its keys are others now, so new ones are attested, at once.
    pub(super) async fn replace_lost_keys(&mut self) {
        tracing::warn!("the TPM was reset and no longer makes the agent's key; attesting a new one");
        if let Some(next) = self.next_key.take() {
            let _ = self.attester.tpm().release(next.id).await;
        }
        self.let_go().await;
        self.attest_after = Instant::now();
    }

    pub(super) async fn drop_active(&mut self) {
        if let Some(active) = &self.active {
            tracing::error!(id = %active.svid.id, "the agent's identity has expired");
        }
        self.let_go().await;
    }

    async fn let_go(&mut self) {
        if let Some(active) = self.active.take() {
            self.publish();
            self.release(active).await;
        }
    }

    async fn release(&self, active: ActiveSvid) {
        let mut next = Some(Box::new(active));
        while let Some(active) = next {
            if let Err(error) = self.attester.tpm().release(active.svid.key).await {
                tracing::warn!(%error, "the TPM did not let a key go");
            }
            next = active.previous;
        }
    }

    /// The bundle as the server told it last. An SVID that leads to none of its authorities, or to a tainted one, is replaced at once.
    pub(super) async fn remember_bundle(&mut self, bundle: Bundle, tainted: Vec<Vec<u8>>) {
        let known = self.bundle.replace(bundle);
        let is_known =
            known.as_ref().map(|it| &it.x509_authorities) == self.bundle.as_ref().map(|it| &it.x509_authorities);
        if is_known && tainted == self.tainted {
            return;
        }
        self.tainted = tainted;
        if self.is_forsaken(SystemTime::now()) {
            tracing::warn!("the authority of the agent's identity is tainted or revoked; attesting again");
            self.must_attest = true;
        }
        if !is_known {
            self.save().await;
        }
    }

    /// Whether the SVID in use leads to no authority of the bundle that is not tainted.
    fn is_forsaken(&self, now: SystemTime) -> bool {
        let (Some(active), Some(bundle)) = (&self.active, &self.bundle) else {
            return false;
        };
        let mut sound = bundle.clone();
        sound.x509_authorities.retain(|it| !self.tainted.contains(it));
        let chain: Vec<&[u8]> = active.svid.chain.iter().map(Vec::as_slice).collect();
        sound
            .authorities()
            .is_ok_and(|sound| sound.verify(&chain, now).is_err())
    }

    /// An SVID that cannot be written down is used all the same; only the next start will be slower.
    pub(super) async fn save(&self) {
        let (Some(active), Some(bundle), Some(known)) = (&self.active, &self.bundle, self.attester.known()) else {
            return;
        };
        let (state, bundle, known) = (self.state.clone(), bundle.clone(), known.clone());
        let (pcrs, svid) = (self.attester.pcrs().cloned(), active.svid.clone());
        let saved = blocking(move || state.save(&bundle, &known, pcrs.as_ref(), &svid)).await;
        let is_news = self.peers.condition.saved(saved.as_ref().copied());
        match saved {
            Err(error) if is_news => log::error(&error),
            Ok(()) if is_news => tracing::info!("the agent's state is written again"),
            _ => {}
        }
    }
}

/// Whether the leaf of a chain is for this key.
fn is_for(chain: &[Vec<u8>], key: &PublicArea) -> bool {
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let spki = key.spki_der().ok();
    leaf.zip(spki)
        .is_some_and(|((_, leaf), spki)| leaf.public_key().raw == spki)
}
