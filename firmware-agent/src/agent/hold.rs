//! Holding an identity: taking it over, using it for the first time, letting its predecessor go.

use std::time::{Duration, SystemTime};

use hallmark_spiffe::Bundle;
use hallmark_tpm_wire::PublicArea;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Agent, authorities};
use crate::{
    AgentError,
    agent_svid::AgentSvid,
    attest::{self, Attested},
    attester::NextKey,
    server_client::ServerClient,
};

/// The identity in use, and the one before it while that may still be needed.
pub(super) struct Holding {
    identity: AgentSvid,
    server: ServerClient,
    proven: bool,
    previous: Option<Box<Holding>>,
}

impl Holding {
    pub(super) const fn identity(&self) -> &AgentSvid {
        &self.identity
    }

    pub(super) const fn server(&self) -> &ServerClient {
        &self.server
    }
}

impl Agent {
    /// Takes up the identity of an earlier run: its key is made again from the remembered bytes, which is one command.
    pub(super) async fn recall(&mut self) -> Result<(), AgentError> {
        let trust_domain = self.config.trust_domain.clone();
        let Some(remembered) = self.state.load(&trust_domain)? else {
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
            Ok(identity) => {
                tracing::info!(id = %identity.id, serial = identity.serial, "identity of the last run taken up");
                self.workloads().set_bundle(remembered.bundle.clone(), Vec::new(), now);
                self.hold(identity, &remembered.bundle)
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
    pub(super) fn adopt(&mut self, attested: Attested) -> Result<(), AgentError> {
        let Attested { identity, bundle } = attested;
        let life = identity.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        tracing::info!(
            id = %identity.id,
            serial = identity.serial,
            valid_for_seconds = life.as_secs(),
            "attested"
        );
        self.save(&bundle, &identity);
        self.workloads()
            .set_bundle(bundle.clone(), Vec::new(), SystemTime::now());
        self.hold(identity, &bundle)?;
        self.bundle = Some(bundle);
        Ok(())
    }

    /// After a call with the newest identity went through: the one before is no longer needed, and the next key can be
    /// made while nobody waits for it.
    pub(super) async fn settle_in(&mut self) {
        let Some(holding) = self.holding.as_mut() else { return };
        if holding.proven {
            return;
        }
        holding.proven = true;
        let server = holding.server.clone();
        if let Some(previous) = holding.previous.take() {
            self.release(*previous).await;
        }
        if let Err(error) = server.post_status().await {
            tracing::debug!(%error, "the server did not take the agent's status");
        }
        if self.next_key.is_none() {
            match self.attester.next_key().await {
                Ok(key) => self.next_key = Some(key),
                Err(error) => tracing::warn!(%error, "the next key was not made ahead"),
            }
        }
    }

    /// The server does not take the identity: the one before is used again if it still can be, and an attestation is
    /// due at once, or after a pause where one has just been.
    pub(super) async fn not_accepted(&mut self, message: String) -> Result<Duration, AgentError> {
        tracing::warn!(
            answer = message,
            "the server does not accept the identity; attesting again"
        );
        let now = SystemTime::now();
        self.must_attest = true;
        if let Some(holding) = self.holding.take() {
            let Holding { previous, .. } = holding;
            match previous {
                Some(previous) if previous.identity.is_valid(now) => self.holding = Some(*previous),
                Some(previous) => self.release(*previous).await,
                None => {}
            }
            let _ = self.attester.tpm().release(holding.identity.key).await;
        }
        Ok(self.attest_backoff.pause())
    }

    /// The TPM was reset: its keys are others now, so new ones are attested, at once.
    pub(super) async fn replace_lost_keys(&mut self) {
        tracing::warn!("the TPM was reset and no longer makes the agent's key; attesting a new one");
        if let Some(next) = self.next_key.take() {
            let _ = self.attester.tpm().release(next.id).await;
        }
        if let Some(holding) = self.holding.take() {
            self.release(holding).await;
        }
        self.attest_after = Instant::now();
    }

    pub(super) async fn drop_holding(&mut self) {
        if let Some(holding) = self.holding.take() {
            tracing::error!(id = %holding.identity.id, "the agent's identity has expired");
            self.release(holding).await;
        }
    }

    pub(super) fn remember_bundle(&mut self, bundle: Bundle) -> Result<(), AgentError> {
        if self
            .bundle
            .as_ref()
            .is_some_and(|known| known.x509_authorities == bundle.x509_authorities)
        {
            self.bundle = Some(bundle);
            return Ok(());
        }
        tracing::info!(sequence = bundle.sequence, "the trust bundle has changed");
        if let Some(holding) = self.holding.as_mut() {
            let authorities = authorities(&bundle)?;
            let (target, trust_domain) = (&self.target, &self.config.trust_domain);
            holding.server = ServerClient::new(
                target,
                trust_domain,
                authorities,
                &holding.identity,
                self.attester.tpm(),
            )?;
            let chain: Vec<&[u8]> = holding.identity.chain.iter().map(Vec::as_slice).collect();
            if bundle
                .authorities()
                .is_ok_and(|sound| sound.verify(&chain, SystemTime::now()).is_err())
            {
                self.must_attest = true;
            }
            let identity = holding.identity.clone();
            self.save(&bundle, &identity);
        }
        self.bundle = Some(bundle);
        Ok(())
    }

    fn hold(&mut self, identity: AgentSvid, bundle: &Bundle) -> Result<(), AgentError> {
        let authorities = authorities(bundle)?;
        let server = ServerClient::new(
            &self.target,
            &self.config.trust_domain,
            authorities,
            &identity,
            self.attester.tpm(),
        )?;
        let previous = self.holding.take().map(Box::new);
        self.holding = Some(Holding {
            identity,
            server,
            proven: false,
            previous,
        });
        Ok(())
    }

    async fn release(&self, holding: Holding) {
        let mut next = Some(Box::new(holding));
        while let Some(holding) = next {
            if let Err(error) = self.attester.tpm().release(holding.identity.key).await {
                tracing::warn!(%error, "the TPM did not let a key go");
            }
            next = holding.previous;
        }
    }

    /// An identity that cannot be written down is used all the same; only the next start will be slower.
    fn save(&self, bundle: &Bundle, identity: &AgentSvid) {
        let Some(known) = self.attester.known() else { return };
        let saved = self.state.save(bundle, known, self.attester.pcrs(), identity);
        let is_news = self.condition.saved(saved.as_ref().copied());
        match saved {
            Err(error) if is_news => hallmark_host::log::error(&error),
            Ok(()) if is_news => tracing::info!("the agent's state is written again"),
            _ => {}
        }
    }

    /// Writes what could not be written before.
    pub(super) fn save_again(&self) {
        let is_due = self.condition.read().not_saved.is_some();
        if let Some((holding, bundle)) = self.holding.as_ref().zip(self.bundle.as_ref()).filter(|_| is_due) {
            self.save(bundle, &holding.identity);
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
