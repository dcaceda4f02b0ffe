//! What keeps an agent from being ready, beside the errors that it met.

use std::{path::PathBuf, time::Duration};

use hallmark_reason::{Coded, ReasonCode};

use crate::condition::Task;

/// Why a part of the agent does not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It has not attested yet, or its SVID has ended, and nothing has failed.
    #[error("the agent has no valid identity")]
    NoIdentity,
    /// The TPM does not answer.
    #[error("the TPM has not answered for {} s", after.as_secs())]
    TpmSilent {
        /// For how long.
        after: Duration,
    },
    /// The server has not answered for long, and nothing has failed.
    #[error("the server has not answered yet")]
    NoAnswer,
    /// Entries without an SVID.
    #[error("{missing} of {entries} workload entries have no SVID")]
    Unissued {
        /// Without one.
        missing: usize,
        /// All of them.
        entries: usize,
    },
    /// Nobody answers at the Workload API's socket.
    #[error("the Workload API does not answer at {}", socket.display())]
    NotServed {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// One of the agent's tasks does not come round.
    #[error("the agent's {} task has made no progress for {} s", task.name(), after.as_secs())]
    TaskStuck {
        /// Which.
        task: Task,
        /// For how long.
        after: Duration,
    },
    /// A lock or a thread that work waits for is never given.
    #[error("the agent's threads make no progress")]
    ThreadsStuck,
}

impl Coded for Fault {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NoIdentity => ReasonCode::new("HM-AGENT-0020"),
            Self::TpmSilent { .. } => ReasonCode::new("HM-AGENT-0021"),
            Self::NoAnswer => ReasonCode::new("HM-AGENT-0022"),
            Self::Unissued { .. } => ReasonCode::new("HM-AGENT-0023"),
            Self::NotServed { .. } => ReasonCode::new("HM-AGENT-0024"),
            Self::TaskStuck { .. } => ReasonCode::new("HM-AGENT-0025"),
            Self::ThreadsStuck => ReasonCode::new("HM-AGENT-0026"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NotServed { detail, .. } => Some(detail.clone()),
            Self::Unissued { missing, entries } => Some(format!("{entries} entries, {missing} without an SVID")),
            _ => None,
        }
    }
}
