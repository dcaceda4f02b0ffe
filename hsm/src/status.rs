//! How a key store is doing.

use std::time::{Duration, SystemTime};

use hallmark_reason::ReasonCode;

/// A key store's counters and state at one moment. Counters start at zero with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What drives the device, such as a module's path.
    pub module: String,
    /// The device as it described itself when it was last opened.
    pub token: TokenFacts,
    /// Whether it serves.
    pub state: State,
    /// How many jobs it does side by side at most.
    pub sessions: usize,
    /// Jobs that wait for a free session.
    pub queued: usize,
    /// Calls into what drives the device that do not come back: their threads are given up and wait there.
    pub stuck: usize,
    /// Signatures made.
    pub signatures: u64,
    /// Jobs that ended in an error of the device.
    pub failures: u64,
    /// How often the device was opened again after it had failed.
    pub reopened: u64,
    /// The latest failure of the device, kept after recovery.
    pub last_failure: Option<LastFailure>,
}

/// What a device says about itself. Texts are the device's own claims, trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its label, by which it was found.
    pub label: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its firmware's version.
    pub firmware: String,
}

/// Whether a key store serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It serves.
    Ready,
    /// The device went away; it is tried again by itself.
    Reopening {
        /// Attempts since it went away.
        attempts: u32,
        /// Until the next attempt; zero while one is under way.
        next_in: Duration,
    },
    /// It needs an operator (wrong or locked PIN, calls that never come back) and is not tried again until the process starts anew,
    /// or, for calls that hang, until they come back.
    Refused {
        /// Why.
        code: ReasonCode,
    },
}

/// A failure of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// Its reason code.
    pub code: ReasonCode,
    /// What failed.
    pub text: String,
    /// When.
    pub at: SystemTime,
}
