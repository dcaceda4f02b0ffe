//! How long a call waits for what is not in memory yet.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{answers::Answers, refusal::Refusal};
use crate::cache::{Cache, Snapshot};

/// For an entry made a moment ago, or the first SVID of an entry.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call's wait. Whom no entry matches has the server asked once whether there is a new one; an entry that is authorised but not
/// issued yet gets a moment to become so.
pub(super) struct Patience {
    changes: watch::Receiver<Arc<Snapshot>>,
    until: Instant,
    is_refreshed: bool,
}

impl Patience {
    /// From now on.
    pub(super) fn new(cache: &Cache) -> Self {
        Self {
            changes: cache.subscribe(),
            until: Instant::now() + PATIENCE,
            is_refreshed: false,
        }
    }

    /// The newest snapshot.
    pub(super) fn snapshot(&mut self) -> Arc<Snapshot> {
        Arc::clone(&self.changes.borrow_and_update())
    }

    /// Waits for what may change this refusal.
    ///
    /// # Errors
    /// The refusal stands.
    pub(super) async fn after(&mut self, refusal: Refusal, answers: &Answers) -> Result<(), Refusal> {
        match refusal {
            Refusal::NoIdentity | Refusal::NotOfCaller { .. } if !self.is_refreshed => {
                self.is_refreshed = true;
                // A server that does not answer in time has told nothing new.
                let _ = timeout_at(self.until, answers.refreshed()).await;
                Ok(())
            }
            Refusal::NotIssued => match timeout_at(self.until, self.changes.changed()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Refusal::Stopping),
                Err(_) => Err(Refusal::NotIssued),
            },
            refusal => Err(refusal),
        }
    }

    /// What tells of snapshots after the last that was looked at.
    pub(super) fn into_changes(self) -> watch::Receiver<Arc<Snapshot>> {
        self.changes
    }
}
