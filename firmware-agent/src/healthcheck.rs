//! Asking the running agent whether it does its work.

use std::{io, path::PathBuf, time::Duration};

use hallmark_host::health::{self, Report};

use crate::{AgentError, config::Config};

const LIMIT: Duration = Duration::from_secs(10);

/// Where the agent of this configuration tells how it is doing: beside the Workload API's socket.
pub(crate) fn socket(config: &Config) -> PathBuf {
    config.socket.with_file_name("health.sock")
}

/// What the running agent says of its parts.
///
/// # Errors
/// Nobody answers, or this user may not ask.
pub(crate) async fn ask(config: &Config) -> Result<Report, AgentError> {
    let socket = socket(config);
    health::ask(&socket, LIMIT).await.map_err(|error| {
        let (socket, detail) = (socket.display().to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied => AgentError::MayNotAsk { socket, detail },
            _ => AgentError::Silent { socket, detail },
        }
    })
}

/// Whether every part does its work.
///
/// # Errors
/// One does not.
pub(crate) fn require_ready(report: &Report) -> Result<(), AgentError> {
    if report.ok {
        return Ok(());
    }
    Err(AgentError::NotReady {
        detail: report.failures(),
    })
}
