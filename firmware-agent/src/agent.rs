//! The agent's tasks.
//!
//! ```text
//!                    the agent's SVID                    a connection
//!   attestation ───────────────────────▶ server channel ─────────────▶ issue ──────────▶ Workload API
//!        ▲                                 │    ▲  └── entries, bundle ──▶│  SVIDs (cache)     │
//!        └──── used / not accepted ────────┴────┼──────────────────────────┘                   │
//!                                               └──── "which entries are there?", "an SVID!" ──┘
//! ```
//!
//! Each task has its own state; the others hold a handle to its queue, or a watch of what it publishes. Only the
//! attestation task waits for the TPM, and only the server channel and the issue task's calls wait for the server: none of
//! them keeps another from answering. What goes to a task that may be waiting is never waited for.

mod active_svid;
mod attestation;
mod channel;
mod demand;
mod issue;
mod jwt;
mod refresh;
mod report;

pub use attestation::Attestation;
pub use demand::Demand;
pub(crate) use issue::IssueHandle;
pub(crate) use jwt::{NoToken, Token, WantedToken};

use std::sync::Arc;

use hallmark_tpm::TpmHandle;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    AgentError,
    cache::Publisher,
    condition::{Condition, Task},
    config::Config,
    state::StateFile,
    workloads::Workloads,
};
use attestation::Peers;
use channel::{Credential, ServerChannel};
use issue::IssueTask;
use jwt::JwtSvids;
use refresh::refresh;
use report::{ReportHandle, reports};

/// The running tasks: attestation, server channel and issue. Dropping them ends them.
pub struct Agent {
    attestation: Running<Result<(), AgentError>>,
    channel: Running<()>,
    issue: Running<()>,
    demand: Demand,
    condition: Arc<Condition>,
}

/// A task that ends with its owner.
struct Running<T> {
    name: &'static str,
    task: JoinHandle<T>,
    has_ended: bool,
}

impl<T: Send + 'static> Running<T> {
    fn start(name: &'static str, task: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            name,
            task: tokio::spawn(task),
            has_ended: false,
        }
    }

    /// Its result, once; a task that panicked has none.
    async fn ended(&mut self) -> Result<T, AgentError> {
        let ended = (&mut self.task).await;
        self.has_ended = true;
        ended.map_err(|error| AgentError::TaskEnded {
            task: self.name,
            detail: error.to_string(),
        })
    }

    async fn stop(mut self) {
        self.task.abort();
        if !self.has_ended {
            let _ = (&mut self.task).await;
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    /// Starts the tasks; what workloads may have is published through `publisher`.
    #[must_use]
    pub fn start(config: Config, tpm: TpmHandle, state: StateFile, publisher: Publisher) -> Self {
        let condition = Arc::<Condition>::default();
        let (credentials, credential) = watch::channel(None);
        let (report_handle, reports) = reports();
        let (channel, issue, demand) = channel_and_issue(
            Workloads::new(config.trust_domain.clone(), publisher),
            credential,
            report_handle,
            &condition,
        );
        let peers = Peers {
            credentials,
            issue: demand.issue.clone(),
            condition: Arc::clone(&condition),
        };
        let attestation = Attestation::new(config, tpm, state, peers);
        Self {
            attestation: Running::start(Task::Attestation.name(), attestation.run(reports)),
            channel,
            issue,
            demand,
            condition,
        }
    }

    /// What asks the tasks for what is not in memory yet.
    #[must_use]
    pub fn demand(&self) -> Demand {
        self.demand.clone()
    }

    /// How it is doing, to be looked at while it works.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    pub(crate) fn issue(&self) -> IssueHandle {
        self.demand.issue.clone()
    }

    /// Waits until a task ends, which none does without a reason.
    ///
    /// # Errors
    /// The machine was banned; or a task ended of itself, which is a fault. Everything else is tried again, for ever.
    pub async fn ended(&mut self) -> AgentError {
        let (name, ended) = tokio::select! {
            ended = self.attestation.ended() => (self.attestation.name, ended.and_then(|ended| ended)),
            ended = self.channel.ended() => (self.channel.name, ended),
            ended = self.issue.ended() => (self.issue.name, ended),
        };
        ended.err().unwrap_or_else(|| AgentError::TaskEnded {
            task: name,
            detail: "it ended of itself".into(),
        })
    }

    /// Ends the tasks in order: nothing more is issued, then nothing more is asked of the server, then the TPM is let go.
    pub async fn stop(self) {
        self.issue.stop().await;
        self.channel.stop().await;
        self.attestation.stop().await;
    }
}

/// Starts the two tasks that ask the server, with what the Workload API asks them by.
fn channel_and_issue(
    workloads: Workloads,
    credentials: watch::Receiver<Option<Credential>>,
    reports: ReportHandle,
    condition: &Arc<Condition>,
) -> (Running<()>, Running<()>, Demand) {
    let (connections, connection) = watch::channel(None);
    let (refresh_handle, refresh) = refresh();
    let jwt = JwtSvids::new(connection.clone(), refresh_handle.clone(), reports.clone());
    let (issue_handle, issue) = IssueTask::new(
        workloads,
        connection,
        jwt.clone(),
        reports.clone(),
        Arc::clone(condition),
    );
    let channel = ServerChannel {
        credentials,
        connections,
        refresh,
        issue: issue_handle.clone(),
        reports,
        condition: Arc::clone(condition),
    };
    let demand = Demand {
        refresh: refresh_handle,
        issue: issue_handle,
        jwt,
    };
    (
        Running::start(Task::Channel.name(), channel.run()),
        Running::start(Task::Issue.name(), issue.run()),
        demand,
    )
}

#[cfg(test)]
mod tests;
