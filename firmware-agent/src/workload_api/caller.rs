//! One connection's peer, and what is known about it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use hallmark_spiffe::Selector;
use hallmark_workload::{Binary, Peer, PeerError, UnixAttestor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

use super::answers::{Answer, Answers, Asked};
use super::concurrency::User;
use super::per_user_queue::{PerUserQueue, Unread};
use super::refusal::Refusal;
use super::speaker::Speaker;
use crate::cache::{Snapshot, WorkloadEntry};
use hallmark_host::log::LogThrottle;

/// The selectors of a caller.
pub(super) type Facts = Arc<BTreeSet<Selector>>;

/// One for all connections: who fails on purpose does it on many.
static NOT_ATTESTED: LogThrottle = LogThrottle::new();

/// The process behind one connection. It is attested for each call, and for each update of a stream: who gave its user or
/// groups up has nothing of theirs.
///
/// Its binary is read, and proven to be what speaks, once, when an entry asks for a binary that this caller could have.
pub(super) struct Caller {
    peer: Arc<Peer>,
    user: User,
    attestor: Arc<UnixAttestor>,
    queue: Arc<PerUserQueue>,
    speaker: Option<Arc<Speaker>>,
    proven: OnceCell<Binary>,
}

impl Caller {
    /// A caller whose binary is believed if there is a `speaker` to tell.
    pub(super) fn new(
        peer: Peer,
        user: User,
        attestor: Arc<UnixAttestor>,
        queue: Arc<PerUserQueue>,
        speaker: Option<Arc<Speaker>>,
    ) -> Self {
        Self {
            peer: Arc::new(peer),
            user,
            attestor,
            queue,
            speaker,
            proven: OnceCell::new(),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.peer.uid()
    }

    /// Whom the caller counts as.
    pub(super) fn user(&self) -> User {
        self.user
    }

    /// What a snapshot holds for this caller.
    ///
    /// # Errors
    /// When the process has ended or cannot be attested, or there is nothing for it; a failure is not remembered.
    pub(super) async fn answer(
        &self,
        answers: &Answers,
        asked: Asked,
        snapshot: &Snapshot,
    ) -> Result<Arc<Answer>, Refusal> {
        let (facts, unproven) = self.known(answers, snapshot).await?;
        let found = answers.find(asked, snapshot, &facts).await;
        found.map_err(|refusal| or_unproven(refusal, unproven))
    }

    /// The entries of a snapshot that this caller matches, oldest first.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(super) async fn entries(
        &self,
        answers: &Answers,
        snapshot: &Snapshot,
    ) -> Result<Vec<Arc<WorkloadEntry>>, Refusal> {
        let (facts, unproven) = self.known(answers, snapshot).await?;
        let found = answers.entries(snapshot, &facts);
        found.map_err(|refusal| or_unproven(refusal, unproven))
    }

    /// What is known of the caller; and why its binary is not, where an entry asks for one that it could have. What it has without
    /// its binary is its own.
    async fn known(&self, answers: &Answers, snapshot: &Snapshot) -> Result<(Facts, Option<Refusal>), Refusal> {
        let facts = self.facts()?;
        if !self.attestor.reads_binaries() || !answers.ask_for_binary(snapshot, &facts) {
            return Ok((facts, None));
        }
        match self.with_binary(&facts).await {
            Ok(facts) => Ok((facts, None)),
            Err(unproven) => {
                self.tell(&unproven);
                Ok((facts, Some(unproven)))
            }
        }
    }

    /// The facts as they are now, but for the binary.
    ///
    /// # Errors
    /// When the process has ended or cannot be attested.
    pub(super) fn facts(&self) -> Result<Facts, Refusal> {
        let attested = self.attestor.attest(&self.peer).map_err(Refusal::from);
        let facts = attested.inspect_err(|error| self.tell(error))?;
        tracing::trace!(pid = self.peer.pid(), ?facts, "caller attested");
        Ok(Arc::new(facts))
    }

    /// All facts, those of the binary with them.
    async fn with_binary(&self, facts: &Facts) -> Result<Facts, Refusal> {
        let binary = self.proven.get_or_try_init(|| self.prove()).await?;
        binary.still_runs(&self.peer)?;
        Ok(Arc::new(facts.union(binary.selectors()).cloned().collect()))
    }

    /// Proves that the binary which the process runs is what speaks on the connection: everything was written by the
    /// process itself; it answers, after its binary was read, what it could not know before; and it runs the same binary
    /// still. Who runs a program that knows nothing of the connection, for others to speak on it, has no answer.
    async fn prove(&self) -> Result<Binary, Refusal> {
        let speaker = self.speaker.as_ref().ok_or_else(|| PeerError::ForeignSender {
            pid: self.peer.pid(),
            sender: "an unknown one".into(),
        })?;
        speaker.alone()?;
        let (attestor, peer) = (Arc::clone(&self.attestor), Arc::clone(&self.peer));
        let read = self.queue.read(self.user.id, move || attestor.binary(&peer)).await;
        let binary = read.map_err(|unread| match unread {
            Unread::Stopping => Refusal::Stopping,
            Unread::Late(waited) => Refusal::from(PeerError::Unread {
                pid: self.peer.pid(),
                waited,
            }),
        })??;
        speaker.acknowledge().await?;
        binary.still_runs(&self.peer)?;
        speaker.guard()?;
        tracing::debug!(pid = self.peer.pid(), binary = ?binary.selectors(), "caller attested with its binary");
        Ok(binary)
    }

    fn tell(&self, error: &Refusal) {
        if let Some(left_out) = NOT_ATTESTED.due(Instant::now()) {
            tracing::info!(pid = self.peer.pid(), uid = self.peer.uid(), %error, left_out, "caller not attested");
        }
    }
}

/// Who has nothing without its binary is told why that was not proven.
fn or_unproven(refusal: Refusal, unproven: Option<Refusal>) -> Refusal {
    match (refusal, unproven) {
        (Refusal::NoIdentity, Some(unproven)) => unproven,
        (refusal, _) => refusal,
    }
}

/// Resolves when a process ends.
pub(super) struct Exit(AsyncFd<OwnedFd>);

impl Exit {
    /// Watches the pidfd of a caller.
    #[expect(
        deprecated,
        reason = "the successor is unsafe because of types that may change their descriptor; an OwnedFd cannot"
    )]
    pub(super) fn of(caller: &Caller) -> io::Result<Self> {
        let pidfd = caller.peer.pidfd().as_fd().try_clone_to_owned()?;
        AsyncFd::with_interest(pidfd, Interest::READABLE).map(Self)
    }

    /// Waits for the end of the process.
    pub(super) async fn wait(&self) {
        // An error means that the runtime is shutting down, when the connection ends as well.
        self.0.readable().await.ok();
    }
}
