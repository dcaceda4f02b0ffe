//! The agent's life: recall, attest, sync, renew.

mod hold;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hallmark_host::log;
use hallmark_spiffe::{Bundle, x509::Authorities};
use hallmark_tpm::{TpmError, TpmHandle};
use tokio::time::Instant;

use crate::{
    AgentError,
    attest::{self, Attested},
    attester::{Attester, NextKey},
    condition::Condition,
    config::{Bootstrap, Config},
    connect::{self, Target},
    digest::sha256,
    jitter::Backoff,
    state::StateFile,
    tls::{self, ServerTrust, ServerVerifier},
    workloads::{Workloads, issue_due},
};
use hold::Holding;

const SYNC_EVERY: Duration = Duration::from_secs(5);
/// However long the server has been away: machines come back within this time after it does.
const SYNC_SLOWEST: Duration = Duration::from_secs(20);
const ATTEST_FIRST_PAUSE: Duration = Duration::from_secs(1);
const ATTEST_SLOWEST: Duration = Duration::from_secs(60);
/// How often the TPM is made to sign with the agent's key, to see that it still does; and how soon again when it did not.
const TPM_EVERY: Duration = Duration::from_secs(60);
const TPM_AGAIN: Duration = Duration::from_secs(10);

/// One machine's agent. It works in steps; between them it sleeps.
pub struct Agent {
    config: Config,
    target: Target,
    attester: Attester,
    state: StateFile,
    workloads: Arc<Mutex<Workloads>>,
    bundle: Option<Bundle>,
    holding: Option<Holding>,
    next_key: Option<NextKey>,
    must_attest: bool,
    /// By a clock that nobody sets: else one that was ahead for a while would keep the machine out as long.
    attest_after: Instant,
    attest_backoff: Backoff,
    sync_backoff: Backoff,
    tpm_due: Instant,
    condition: Arc<Condition>,
}

impl Agent {
    /// An agent that has done nothing yet.
    #[must_use]
    pub fn new(config: Config, tpm: TpmHandle, state: StateFile, workloads: Arc<Mutex<Workloads>>) -> Self {
        Self {
            target: Target {
                host: config.server_host.clone(),
                port: config.server_port,
            },
            attester: Attester::new(tpm, config.ek_chain, config.logs.clone()),
            config,
            state,
            workloads,
            bundle: None,
            holding: None,
            next_key: None,
            must_attest: false,
            attest_after: Instant::now(),
            attest_backoff: Backoff::new(ATTEST_FIRST_PAUSE, ATTEST_SLOWEST),
            sync_backoff: Backoff::new(SYNC_EVERY, SYNC_SLOWEST),
            tpm_due: Instant::now() + TPM_EVERY,
            condition: Arc::default(),
        }
    }

    /// How it is doing, to be looked at while it works.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    /// Works until there is a reason to end.
    ///
    /// # Errors
    /// The machine was banned. Everything else is tried again, for ever.
    pub async fn run(mut self) -> Result<(), AgentError> {
        if let Err(error) = self.recall().await {
            log::warn(&error);
        }
        loop {
            let pause = match self.step().await {
                Ok(pause) => pause,
                Err(banned @ AgentError::Banned { .. }) => {
                    self.workloads().wipe();
                    self.state.remove()?;
                    return Err(match &self.holding {
                        Some(holding) => banned.of_node(&holding.identity().id),
                        None => banned,
                    });
                }
                Err(error) => {
                    log::error(&error);
                    self.condition.not_synced(&error);
                    self.sync_backoff.pause()
                }
            };
            let identity = self.holding.as_ref().map(Holding::identity);
            self.condition.beat(identity.map(|identity| identity.not_after));
            tokio::time::sleep(pause).await;
        }
    }

    /// Attests once, afresh, and holds what comes of it.
    ///
    /// # Errors
    /// The attestation's.
    pub async fn attest_once(&mut self) -> Result<&crate::agent_svid::AgentSvid, AgentError> {
        self.attest().await?;
        let holding = self
            .holding
            .as_ref()
            .ok_or(AgentError::Protocol("no identity after an attestation"))?;
        Ok(holding.identity())
    }

    /// One turn: an identity if there is none or it is due, then the server's news, then what is due for workloads.
    /// Returns how long to sleep.
    async fn step(&mut self) -> Result<Duration, AgentError> {
        if self.is_attestation_due(SystemTime::now()) {
            self.attest_or_wait().await?;
        }
        let Some(holding) = &self.holding else {
            let left = self.attest_after.saturating_duration_since(Instant::now());
            return Ok(if left.is_zero() { ATTEST_FIRST_PAUSE } else { left });
        };
        let server = holding.server().clone();
        let synced = match self.try_tpm().await {
            Err(error @ TpmError::KeyChanged { .. }) => Err(error.into()),
            // Nothing else needs the TPM now.
            Err(error) => {
                log::error(&error);
                self.sync(&server).await
            }
            Ok(()) => self.sync(&server).await,
        };
        match synced {
            Ok(()) => {}
            Err(AgentError::NotAccepted { message }) => return self.not_accepted(message).await,
            Err(AgentError::Tpm(TpmError::KeyChanged { .. })) => {
                self.replace_lost_keys().await;
                return Ok(Duration::ZERO);
            }
            Err(error) => return Err(error),
        }
        self.sync_backoff.reset();
        self.attest_backoff.reset();
        self.settle_in().await;
        self.save_again();
        Ok(SYNC_EVERY)
    }

    /// A reset of the TPM shows when a key is used, and connections last: so the agent's key is used now and then.
    async fn try_tpm(&mut self) -> Result<(), TpmError> {
        let due = self.tpm_due <= Instant::now();
        let Some(holding) = self.holding.as_ref().filter(|_| due) else {
            return Ok(());
        };
        self.tpm_due = Instant::now() + TPM_AGAIN;
        let digest = sha256(b"hallmark: a probe, not a handshake");
        self.attester.tpm().sign(holding.identity().key, digest).await?;
        self.tpm_due = Instant::now() + TPM_EVERY;
        Ok(())
    }

    fn is_attestation_due(&self, now: SystemTime) -> bool {
        let due = match &self.holding {
            None => true,
            Some(holding) => {
                let identity = holding.identity();
                self.must_attest || !identity.is_valid(now) || identity.renew_at <= now
            }
        };
        due && self.attest_after <= Instant::now()
    }

    /// Attests; where that fails and there still is a good identity, it is used on and the attestation tried again
    /// later.
    async fn attest_or_wait(&mut self) -> Result<(), AgentError> {
        match self.attest().await {
            Ok(()) => {
                self.must_attest = false;
                self.condition.attested();
                Ok(())
            }
            Err(banned @ AgentError::Banned { .. }) => Err(banned),
            Err(error) => {
                log::error(&error);
                self.condition.not_attested(&error);
                if matches!(error, AgentError::Suspended { .. }) {
                    self.workloads().wipe();
                }
                self.attest_after = Instant::now() + self.attest_backoff.pause();
                let now = SystemTime::now();
                let ended = |holding: &Holding| !holding.identity().is_valid(now);
                if self.holding.as_ref().is_some_and(ended) {
                    self.drop_holding().await;
                }
                Ok(())
            }
        }
    }

    async fn attest(&mut self) -> Result<(), AgentError> {
        let key = match self.next_key.take() {
            Some(key) => key,
            None => self.attester.next_key().await?,
        };
        match self.attest_key(&key).await {
            Ok(attested) => self.adopt(attested),
            Err(error) => {
                // A key that was refused, or is no longer what it was, is not shown again.
                let keep = matches!(
                    error,
                    AgentError::Unreachable { .. }
                        | AgentError::Untrusted { .. }
                        | AgentError::OtherProtocol { .. }
                        | AgentError::Clock { .. }
                        | AgentError::ServerBusy { .. }
                );
                if keep {
                    self.next_key = Some(key);
                } else {
                    let _ = self.attester.tpm().release(key.id).await;
                }
                Err(error)
            }
        }
    }

    async fn attest_key(&mut self, key: &NextKey) -> Result<Attested, AgentError> {
        let trust_domain = self.config.trust_domain.clone();
        let verifier = ServerVerifier::new(&trust_domain, self.bootstrap_trust()?)
            .map(Arc::new)
            .map_err(|error| AgentError::System {
                detail: error.to_string(),
            })?;
        let connection = connect::anonymous(&self.target, tls::anonymous(Arc::clone(&verifier))?).await?;
        let attested = attest::attest(&trust_domain, &mut self.attester, key, &connection).await?;
        // Where nothing was known of the server, at least it has to be of the trust domain that is pinned now.
        let shown = verifier.shown_chain();
        let shown: Vec<&[u8]> = shown.iter().map(Vec::as_slice).collect();
        authorities(&attested.bundle)?
            .verify(&shown, SystemTime::now())
            .map_err(|error| AgentError::Bundle {
                detail: format!("it does not verify the server: {error}"),
            })?;
        Ok(attested)
    }

    /// The bundle of the last connection first, then the configured one: a trust domain whose keys were all replaced
    /// while the machine was off is joined again with a new file.
    fn bootstrap_trust(&self) -> Result<ServerTrust, AgentError> {
        let mut sets = Vec::new();
        if let Some(bundle) = &self.bundle {
            sets.push(authorities(bundle)?);
        }
        match &**self.config.bootstrap.load() {
            Bootstrap::Bundle(bundle) => sets.push(authorities(bundle)?),
            Bootstrap::Insecure if sets.is_empty() => {
                tracing::warn!("the server is not authenticated at this first connection (insecure_bootstrap)");
                return Ok(ServerTrust::IdOnly);
            }
            Bootstrap::Insecure => {}
        }
        Ok(ServerTrust::Authorities(sets))
    }

    async fn sync(&mut self, server: &crate::server_client::ServerClient) -> Result<(), AgentError> {
        let now = SystemTime::now();
        let have = self.workloads().versions();
        let listing = server.sync(|id| have.get(id).copied()).await?;
        let (bundle, tainted) = server.bundle().await?;
        {
            let mut workloads = self.workloads();
            workloads.set_bundle(bundle.clone(), tainted, now);
            workloads.apply(listing);
        }
        self.remember_bundle(bundle)?;
        let issued = issue_due(&self.workloads, server, now).await?;
        if issued > 0 {
            tracing::info!(issued, "workload SVIDs issued");
        }
        self.workloads().set_ready();
        let missing = self.workloads().missing();
        self.condition.synced(missing);
        Ok(())
    }

    fn workloads(&self) -> MutexGuard<'_, Workloads> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorities(bundle: &Bundle) -> Result<Arc<Authorities>, AgentError> {
    bundle.authorities().map(Arc::new).map_err(|error| AgentError::Bundle {
        detail: error.to_string(),
    })
}
