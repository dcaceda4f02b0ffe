//! What is watched of the server: whether it lives, whether it is ready, its metrics.

use std::{sync::Arc, time::Duration};

use hallmark_host::health::{LastReport, Part, Report, Watched};
use hallmark_reason::{Coded, ReasonCode};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{health::Health, journal::Journal, metrics::Metrics};

/// How long the store may take to answer, be it with a failure: longer than another program's lock holds it up.
const STORE: Duration = Duration::from_secs(8);
/// How long a lock may be held.
const LOCK: Duration = Duration::from_secs(2);

/// A part of the server hangs: only a new start helps.
#[derive(Debug, thiserror::Error)]
#[error("the server's {part} has not answered within {} s", within.as_secs())]
struct Stuck {
    part: &'static str,
    within: Duration,
}

impl Coded for Stuck {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0024")
    }
}

/// The server, watched.
pub(crate) struct WatchedServer {
    journal: Arc<Journal>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    last: LastReport,
}

impl WatchedServer {
    pub(crate) fn new(journal: Arc<Journal>, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        Self {
            journal,
            health,
            metrics,
            last: LastReport::default(),
        }
    }
}

async fn look(health: &Health) -> Report {
    Report::new(health.parts().await)
}

impl Watched for WatchedServer {
    /// The store answers, if only with a failure, and the locks that requests take are given back.
    async fn live(&self) -> Report {
        let stuck = |part, within| Stuck { part, within };
        let journal = Arc::clone(&self.journal);
        let locks = spawn_blocking(move || {
            let _ = journal.state().count_nodes(journal.clock().unix());
        });
        let (store, locks) = tokio::join!(timeout(STORE, self.journal.store().check()), timeout(LOCK, locks));
        let store = store.is_err().then(|| stuck("store", STORE));
        let locks = locks.is_err().then(|| stuck("threads", LOCK));
        Report::new(vec![
            Part::of("store", store.as_ref()),
            Part::of("threads", locks.as_ref()),
        ])
    }

    async fn ready(&self) -> Report {
        self.last.now(look(&self.health)).await
    }

    async fn metrics(&self) -> String {
        let report = self.last.lately(look(&self.health)).await;
        self.metrics.text(&self.health.reading(&report))
    }
}
