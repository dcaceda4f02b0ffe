//! What whoever stands before the machine reads.

use std::fmt::Display;

use hallmark_host::log;

/// Writes a message to the console; one of several lines is a refusal, whose form is known.
pub(super) fn tell(message: impl Display) {
    log::say(format!("hallmark-provision: {message}"));
}
