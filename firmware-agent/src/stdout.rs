//! Answers of commands.

use std::io::{self, ErrorKind, Write as _};

use hallmark_reason::Coded;

use crate::AgentError;

/// Writes a line of an answer.
///
/// # Errors
/// When standard output takes nothing.
pub(crate) fn print(text: &str) -> Result<(), Box<dyn Coded + Send>> {
    match writeln!(io::stdout(), "{text}") {
        // A reader that went away has no use for the line; that is no failure.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Box::new(AgentError::System {
            detail: format!("stdout: {error}"),
        })),
        Ok(()) => Ok(()),
    }
}
