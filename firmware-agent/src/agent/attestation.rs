//! The attestation task: it has the TPM's keys and the agent's SVID, and attests when that is due.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_host::log;
use hallmark_spiffe::{Bundle, SpiffeId, x509::Authorities};
use hallmark_tpm::{TpmError, TpmHandle};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{active_svid::ActiveSvid, channel::Credential, issue::IssueHandle, report::Report};
use crate::{
    AgentError,
    agent_svid::AgentSvid,
    attest::{self, Attested},
    attester::{Attester, NextKey},
    blocking::blocking,
    condition::{Condition, Task},
    config::{Bootstrap, Config},
    connect::{self, Target},
    digest::sha256,
    jitter::{Backoff, pause_before_end},
    server_client::ServerClient,
    state::StateFile,
    tls::{self, ServerTrust, ServerVerifier},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the TPM is made to sign with the agent's key, to see that it still does; and how soon again when it did not.
const TPM_EVERY: Duration = Duration::from_secs(60);
const TPM_AGAIN: Duration = Duration::from_secs(10);
/// How often the time of day is looked at, which may be set.
const TICK: Duration = Duration::from_secs(1);
/// How soon a state that could not be written is written again.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// Whom the task tells.
pub(super) struct Peers {
    pub(super) credentials: watch::Sender<Option<Credential>>,
    pub(super) issue: IssueHandle,
    pub(super) condition: Arc<Condition>,
}

/// The task.
pub struct Attestation {
    pub(super) config: Config,
    pub(super) target: Target,
    pub(super) attester: Attester,
    pub(super) state: StateFile,
    pub(super) peers: Peers,
    pub(super) bundle: Option<Bundle>,
    /// The authorities of the bundle that are tainted, as the server told last.
    pub(super) tainted: Vec<Vec<u8>>,
    pub(super) active: Option<ActiveSvid>,
    pub(super) next_key: Option<NextKey>,
    pub(super) must_attest: bool,
    /// By a clock that nobody sets: else one that was ahead for a while would keep the machine out as long.
    pub(super) attest_after: Instant,
    pub(super) backoff: Backoff,
    tpm_due: Instant,
    pub(super) save_due: Instant,
}

impl Attestation {
    /// A task that has done nothing yet.
    pub(super) fn new(config: Config, tpm: TpmHandle, state: StateFile, peers: Peers) -> Self {
        Self {
            target: Target {
                host: config.server_host.clone(),
                port: config.server_port,
            },
            attester: Attester::new(tpm, config.ek_chain, config.logs.clone()),
            config,
            state,
            peers,
            bundle: None,
            tainted: Vec::new(),
            active: None,
            next_key: None,
            must_attest: false,
            attest_after: Instant::now(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            tpm_due: Instant::now() + TPM_EVERY,
            save_due: Instant::now(),
        }
    }

    /// An attestation beside no other task, for whoever asks for it.
    #[must_use]
    pub fn alone(config: Config, tpm: TpmHandle, state: StateFile) -> Self {
        let peers = Peers {
            credentials: watch::Sender::new(None),
            issue: IssueHandle::none(),
            condition: Arc::default(),
        };
        Self::new(config, tpm, state, peers)
    }

    /// Attests, afresh; gives the agent's new SVID.
    ///
    /// # Errors
    /// The attestation's.
    pub async fn once(&mut self) -> Result<&AgentSvid, AgentError> {
        self.attest().await?;
        let active = self.active.as_ref().map(ActiveSvid::svid);
        active.ok_or(AgentError::Protocol("no identity after an attestation"))
    }

    /// Attests, and gives a client that speaks with the new SVID; the one before it is let go.
    ///
    /// # Errors
    /// The attestation's; or TLS cannot be set up.
    pub(crate) async fn client(&mut self) -> Result<ServerClient, AgentError> {
        self.once().await?;
        self.on_first_use().await;
        let credential = self.peers.credentials.borrow().clone();
        let credential = credential.ok_or(AgentError::Protocol("no identity after an attestation"))?;
        (credential.connect)(&credential.bundle)
    }

    /// The id of the SVID in use.
    pub(crate) fn id(&self) -> Option<&SpiffeId> {
        self.active.as_ref().map(|active| &active.svid().id)
    }

    /// Whether the SVID in use is to be replaced, or there is none.
    pub(crate) fn is_due(&self) -> bool {
        self.is_attestation_due(SystemTime::now())
    }

    /// Works until there is a reason to end.
    ///
    /// # Errors
    /// The machine was banned. Everything else is tried again, for ever.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) -> Result<(), AgentError> {
        if let Err(error) = self.recall().await {
            log::warn(&error);
        }
        loop {
            let mut done = self.step().await;
            self.peers.condition.beat(Task::Attestation);
            if done.is_ok() {
                let tick = Instant::now() + TICK;
                done = tokio::select! {
                    report = reports.recv() => match report {
                        Some(report) => self.take(report).await,
                        None => return Ok(()),
                    },
                    () = sleep_until(tick) => Ok(()),
                };
            }
            match done {
                Ok(()) => {}
                Err(banned @ AgentError::Banned { .. }) => return Err(self.forget_all(banned).await),
                Err(error) => log::error(&error),
            }
        }
    }

    /// What is due: an attestation, a look at the TPM, a state to be written.
    async fn step(&mut self) -> Result<(), AgentError> {
        if self.is_attestation_due(SystemTime::now()) {
            self.attest_or_wait().await?;
        }
        match self.try_tpm().await {
            Err(TpmError::KeyChanged { .. }) => self.replace_lost_keys().await,
            // Nothing else needs the TPM now.
            Err(error) => log::error(&error),
            Ok(()) => {}
        }
        self.save_again().await;
        Ok(())
    }

    /// What another task tells; words about an SVID that is no longer in use come too late.
    async fn take(&mut self, report: Report) -> Result<(), AgentError> {
        let is_active = |serial: &str| {
            self.active
                .as_ref()
                .is_some_and(|active| active.svid().serial == serial)
        };
        match report {
            Report::Unusable(_, banned @ AgentError::Banned { .. }) => return Err(banned),
            Report::Used(serial, bundle, tainted) if is_active(&serial) => {
                self.backoff.reset();
                self.on_first_use().await;
                self.remember_bundle(bundle, tainted).await;
            }
            Report::Unusable(serial, AgentError::NotAccepted { message }) if is_active(&serial) => {
                self.not_accepted(message).await;
            }
            Report::Unusable(
                serial,
                error @ (AgentError::Untrusted { .. } | AgentError::CertificateRefused { .. }),
            ) if is_active(&serial) => {
                self.strange(&error);
            }
            Report::Unusable(serial, AgentError::Tpm(TpmError::KeyChanged { .. })) if is_active(&serial) => {
                self.replace_lost_keys().await;
            }
            Report::Used(..) | Report::Unusable(..) => {}
        }
        Ok(())
    }

    /// The machine was banned: nothing of it is left.
    async fn forget_all(&mut self, banned: AgentError) -> AgentError {
        self.peers.credentials.send_replace(None);
        self.peers.issue.wipe().await;
        let state = self.state.clone();
        if let Err(error) = blocking(move || state.remove()).await {
            return error;
        }
        match &self.active {
            Some(active) => banned.of_node(&active.svid().id),
            None => banned,
        }
    }

    /// A reset of the TPM shows when a key is used, and connections last: so the agent's key is used now and then.
    async fn try_tpm(&mut self) -> Result<(), TpmError> {
        let due = self.tpm_due <= Instant::now();
        let Some(active) = self.active.as_ref().filter(|_| due) else {
            return Ok(());
        };
        self.tpm_due = Instant::now() + TPM_AGAIN;
        let digest = sha256(b"hallmark: a probe, not a handshake");
        self.attester.tpm().sign(active.svid().key, digest).await?;
        self.tpm_due = Instant::now() + TPM_EVERY;
        Ok(())
    }

    fn is_attestation_due(&self, now: SystemTime) -> bool {
        let due = match &self.active {
            None => true,
            Some(active) => {
                let svid = active.svid();
                self.must_attest || !svid.is_valid(now) || svid.renew_at <= now
            }
        };
        due && self.attest_after <= Instant::now()
    }

    /// Attests; where that fails and there still is a good SVID, it is used on and the attestation tried again later.
    async fn attest_or_wait(&mut self) -> Result<(), AgentError> {
        match self.attest().await {
            Ok(()) => {
                self.must_attest = false;
                self.peers.condition.attested();
                Ok(())
            }
            Err(banned @ AgentError::Banned { .. }) => Err(banned),
            Err(error) => {
                log::error(&error);
                self.peers.condition.not_attested(&error);
                if matches!(error, AgentError::Suspended { .. }) {
                    self.peers.issue.wipe().await;
                }
                let now = SystemTime::now();
                let active = self.active.as_ref();
                let left = active.and_then(|active| active.svid().not_after.duration_since(now).ok());
                self.attest_after = Instant::now() + pause_before_end(self.backoff.pause_with(left), left);
                if self.active.as_ref().is_some_and(|active| !active.svid().is_valid(now)) {
                    self.drop_active().await;
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
            Ok(attested) => {
                self.adopt(attested).await;
                Ok(())
            }
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

    /// Writes what could not be written before.
    async fn save_again(&mut self) {
        let is_due = self.peers.condition.read().not_saved.is_some() && self.save_due <= Instant::now();
        if is_due {
            self.save_due = Instant::now() + SAVE_AGAIN;
            self.save().await;
        }
    }
}

pub(super) fn authorities(bundle: &Bundle) -> Result<Arc<Authorities>, AgentError> {
    bundle.authorities().map(Arc::new).map_err(|error| AgentError::Bundle {
        detail: error.to_string(),
    })
}
