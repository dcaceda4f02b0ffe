//! What the adapter is told.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::TokenSelector;

/// How to reach a token, and how long to be patient with it.
#[derive(Debug, Clone)]
pub struct Pkcs11Config {
    /// The module to load, a shared library.
    pub module: PathBuf,
    /// Which token. Slot numbers are never used: several modules renumber them.
    pub token: TokenSelector,
    /// The user PIN.
    pub pin: SecretString,
    /// Whether a key must say that it was made in the token (CKA_LOCAL). NSS's softokn says so of no key; then
    /// CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE have to do.
    pub require_local: bool,
    /// How many sessions to hold, each with a thread; at least one is held.
    pub sessions: usize,
    /// How many jobs may wait for a free session before further ones are refused.
    pub queue: usize,
    /// How long a job waits, from its arrival, for a token that went away before it fails.
    pub patience: Duration,
    /// The time limit of a job, from its arrival. Making a key has ten times as long.
    pub time_limit: Duration,
    /// How long one call into the module may last before the thread in it is given up and another takes its place. Making a key has
    /// ten times as long.
    pub call_limit: Duration,
    /// So many threads that were given up and have not come back put the token out of service.
    pub stuck_max: usize,
}

impl Pkcs11Config {
    /// A configuration with the usual limits: a queue of 4,096 jobs, 2 s of patience, 20 s for a job, 8 s for a
    /// call into the module and 8 such calls that hang.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>, token: TokenSelector, pin: SecretString, sessions: usize) -> Self {
        Self {
            module: module.into(),
            token,
            pin,
            require_local: true,
            sessions,
            queue: 4096,
            patience: Duration::from_secs(2),
            time_limit: Duration::from_secs(20),
            call_limit: Duration::from_secs(8),
            stuck_max: 8,
        }
    }
}
