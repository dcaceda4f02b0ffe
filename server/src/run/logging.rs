//! The log: to standard error, structured.

use tracing_subscriber::EnvFilter;

use crate::{
    config::{Log, LogFormat},
    errors::StartError,
};

/// Starts logging for the whole process. A second start in one process changes nothing.
///
/// # Errors
/// When the level is none.
pub(super) fn start(log: &Log) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| StartError::LogLevel {
        level: log.level.clone(),
        cause: error.to_string(),
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    Ok(())
}
