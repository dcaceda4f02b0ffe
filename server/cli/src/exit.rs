//! Exit codes.

use std::process::ExitCode;

/// What the process says to the shell; the numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Something nobody foresaw, or a check that failed.
    Unexpected,
    /// Wrong usage or configuration.
    Usage,
    /// Not permitted.
    NotPermitted,
    /// Server, TPM or HSM cannot be reached.
    Unreachable,
    /// Evidence was judged, and refused.
    Refused,
    /// Not found, ambiguous, or in conflict with what is there.
    NotFound,
    /// A dry run that found something to change.
    WouldChange,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        let code: u8 = match exit {
            Exit::Done => 0,
            Exit::Unexpected => 1,
            Exit::Usage => 2,
            Exit::NotPermitted => 3,
            Exit::Unreachable => 4,
            Exit::Refused => 5,
            Exit::NotFound => 6,
            Exit::WouldChange => 7,
        };
        code.into()
    }
}
