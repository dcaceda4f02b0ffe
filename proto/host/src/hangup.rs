//! SIGHUP from the first moment of a program on.

use std::{ffi::OsStr, io};

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

/// From now on a SIGHUP asks for a reload, and does not end the program. The first thing that a program does: whoever follows
/// the signal later, on any runtime, hears of one that came meanwhile.
///
/// # Errors
/// When the system does not take the handler.
pub fn heed_hangup() -> io::Result<Signal> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    signal(SignalKind::hangup())
}

/// As [`heed_hangup`], where the first of the arguments says that the program is to run: other commands end with their terminal.
#[must_use]
pub fn heed_hangup_of(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> Option<Signal> {
    let runs = arguments.nth(1).is_some_and(|word| word.as_ref() == "run");
    // Where the handler is refused, it is so again, and told, when the program comes to it.
    runs.then(heed_hangup).and_then(Result::ok)
}
