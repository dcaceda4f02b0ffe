//! The server channel: one task that has the connection to the server, and asks for entries and bundle.

use std::{future::pending, sync::Arc, time::Duration};

use hallmark_host::log;
use hallmark_spiffe::Bundle;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{issue::IssueHandle, refresh::Refresh, report::ReportHandle};
use crate::{
    AgentError,
    condition::{Condition, Task},
    jitter::Backoff,
    server_client::ServerClient,
};

const SYNC_EVERY: Duration = Duration::from_secs(5);
/// However long the server has been away: machines come back within this time after it does.
const SYNC_SLOWEST: Duration = Duration::from_secs(20);
/// How soon after one answer that a workload asked for the server is asked for another.
const ON_DEMAND: Duration = Duration::from_secs(1);

type Connect = dyn Fn(&Bundle) -> Result<ServerClient, AgentError> + Send + Sync;

/// An SVID of the agent's, as the channel uses it.
#[derive(Clone)]
pub(super) struct Credential {
    /// The SVID's serial number.
    pub(super) serial: Arc<str>,
    /// The bundle that is known.
    pub(super) bundle: Bundle,
    /// Makes a client that speaks with this SVID, to a server of such a bundle.
    pub(super) connect: Arc<Connect>,
}

/// A client with the serial number of the SVID that it speaks with.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) serial: Arc<str>,
    pub(super) client: ServerClient,
}

/// The task. The connection is made again when it ends, without the others noticing: what they hold is a client, and a
/// watch that gives the next one when the agent's SVID or the bundle changes.
pub(super) struct ServerChannel {
    pub(super) credentials: watch::Receiver<Option<Credential>>,
    pub(super) connections: watch::Sender<Option<Connection>>,
    pub(super) refresh: Refresh,
    pub(super) issue: IssueHandle,
    pub(super) reports: ReportHandle,
    pub(super) condition: Arc<Condition>,
}

/// What the channel speaks with now.
struct Open {
    credential: Credential,
    client: ServerClient,
    /// Whether the server was told this agent's version.
    told: bool,
}

impl ServerChannel {
    /// Works until it is ended.
    pub(super) async fn run(mut self) {
        let mut open: Option<Open> = None;
        let mut backoff = Backoff::new(SYNC_EVERY, SYNC_SLOWEST);
        let (mut due, mut on_demand) = (Instant::now(), Instant::now());
        self.credentials.mark_changed();
        loop {
            self.condition.beat(Task::Channel);
            if open.is_none() {
                // Without an SVID there is nobody to ask.
                self.refresh.end(self.refresh.begin());
            }
            let is_wanted = self.refresh.is_wanted();
            let at = if is_wanted { due.min(on_demand) } else { due };
            tokio::select! {
                changed = self.credentials.changed() => {
                    if changed.is_err() {
                        // The attestation task has ended, and the agent with it.
                        pending::<()>().await;
                    }
                    open = self.open();
                    due = Instant::now();
                }
                () = sleep_until(at), if open.is_some() => {
                    let begun = self.refresh.begin();
                    let synced = match open.as_mut() {
                        Some(open) => self.sync_unless_replaced(open).await,
                        None => None,
                    };
                    // An SVID that takes the place of this one asks for itself.
                    let Some(synced) = synced else { continue };
                    let pause = match synced {
                        Ok(()) => {
                            backoff.reset();
                            SYNC_EVERY
                        }
                        Err(()) => backoff.pause(),
                    };
                    self.refresh.end(begun);
                    due = Instant::now() + pause;
                    if is_wanted {
                        on_demand = Instant::now() + ON_DEMAND;
                    }
                }
                () = self.refresh.wanted(), if !is_wanted => {}
            }
        }
    }

    /// Takes up the newest SVID.
    fn open(&mut self) -> Option<Open> {
        let credential = self.credentials.borrow_and_update().clone();
        let opened = credential.and_then(|credential| match (credential.connect)(&credential.bundle) {
            Ok(client) => Some(Open {
                credential,
                client,
                told: false,
            }),
            Err(error) => {
                log::error(&error);
                self.condition.not_synced(&error);
                None
            }
        });
        self.publish(opened.as_ref());
        opened
    }

    fn publish(&self, open: Option<&Open>) {
        self.connections.send_replace(open.map(|open| Connection {
            serial: Arc::clone(&open.credential.serial),
            client: open.client.clone(),
        }));
    }

    /// Asks the server; `None` where another SVID came meanwhile.
    async fn sync_unless_replaced(&mut self, open: &mut Open) -> Option<Result<(), ()>> {
        let mut credentials = self.credentials.clone();
        let synced = tokio::select! {
            synced = self.sync(open) => synced,
            _ = credentials.changed() => return None,
        };
        Some(synced.map_err(|error| {
            if !self.reports.unusable(&open.credential.serial, &error) {
                log::error(&error);
                self.condition.not_synced(&error);
            }
        }))
    }

    async fn sync(&self, open: &mut Open) -> Result<(), AgentError> {
        // First, so that a connection is there already when the entries are asked for; and it counts whatever they are.
        let (bundle, tainted) = open.client.bundle().await?;
        self.issue.set_bundle(bundle.clone(), tainted.clone()).await;
        let listing = open.client.sync(&self.issue.versions().await).await;
        self.take_bundle(open, &bundle)?;
        let listing = listing?;
        let not_taken = listing.not_taken();
        let count = listing.beyond;
        self.issue.apply(listing).await;
        if self.condition.synced(not_taken.as_ref().map(|error| (count, error)))
            && let Some(error) = not_taken
        {
            log::warn(&error);
        }
        self.reports.used(&open.credential.serial, bundle, tainted);
        if !open.told {
            open.told = true;
            if let Err(error) = open.client.post_status().await {
                tracing::debug!(%error, "the server did not take the agent's status");
            }
        }
        Ok(())
    }

    fn take_bundle(&self, open: &mut Open, bundle: &Bundle) -> Result<(), AgentError> {
        if open.credential.bundle.x509_authorities != bundle.x509_authorities {
            tracing::info!(sequence = bundle.sequence, "the trust bundle has changed");
            open.client = (open.credential.connect)(bundle)?;
            self.publish(Some(open));
        }
        open.credential.bundle = bundle.clone();
        Ok(())
    }
}
