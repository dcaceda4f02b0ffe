//! One connection's peer, and what is known about it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use hallmark_spiffe::Selector;
use hallmark_workload::{Peer, UnixAttestor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

use super::refusal::Refusal;
use super::seldom::Seldom;
use super::turns::Turns;

/// The selectors of a caller.
pub(super) type Facts = Arc<BTreeSet<Selector>>;

/// One for all connections: who fails on purpose does it on many.
static NOT_ATTESTED: Seldom = Seldom::new();

/// The process behind one connection. It is attested once, on its first call; every further call only
/// asks the pidfd whether it still lives.
pub(super) struct Caller {
    peer: Arc<Peer>,
    attestor: Arc<UnixAttestor>,
    turns: Arc<Turns>,
    facts: OnceCell<Facts>,
}

impl Caller {
    pub(super) fn new(peer: Peer, attestor: Arc<UnixAttestor>, turns: Arc<Turns>) -> Self {
        Self {
            peer: Arc::new(peer),
            attestor,
            turns,
            facts: OnceCell::new(),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.peer.uid()
    }

    /// The caller's selectors.
    ///
    /// # Errors
    /// When the process has ended or cannot be attested; a failure is not remembered.
    pub(super) async fn facts(&self) -> Result<Facts, Refusal> {
        if let Some(facts) = self.facts.get() {
            self.peer.assure_alive()?;
            return Ok(Arc::clone(facts));
        }
        self.facts.get_or_try_init(|| self.attest()).await.map(Arc::clone)
    }

    async fn attest(&self) -> Result<Facts, Refusal> {
        let facts = if self.attestor.reads_binaries() {
            let (attestor, peer) = (Arc::clone(&self.attestor), Arc::clone(&self.peer));
            // A caller that hangs up while it waits leaves nothing behind; one whose binary is being read keeps its
            // user's turn until that is done.
            let turn = self.turns.wait(self.peer.uid()).await;
            let work = move || {
                let _turn = turn;
                attestor.attest(&peer)
            };
            tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Stopping)?
        } else {
            self.attestor.attest(&self.peer)
        };
        let facts = facts.inspect_err(|error| {
            if let Some(left_out) = NOT_ATTESTED.due(Instant::now()) {
                tracing::info!(pid = self.peer.pid(), uid = self.peer.uid(), %error, left_out, "caller not attested");
            }
        })?;
        tracing::debug!(pid = self.peer.pid(), ?facts, "caller attested");
        Ok(Arc::new(facts))
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
