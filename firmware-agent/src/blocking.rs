//! Work that blocks, kept off the async workers.

use tokio::task::spawn_blocking;

use crate::AgentError;

/// Waits for work that may take its time: TPM, disk, signatures.
///
/// # Errors
/// The work's own; [`AgentError::System`] when it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(AgentError::System {
            detail: error.to_string(),
        })
    })
}
