//! The binary that a caller runs, from when it was read.

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;

use crate::executable::{Executable, running};
use crate::{Peer, PeerError};

/// The binary that a peer ran when it was read, with its selectors.
///
/// By itself it says what the process runs, not that what the process runs is what speaks on the connection: a process
/// can connect, leave the connection to others, and then run any program. Whoever believes it must have seen that
/// everything on the connection was written by the peer's process, must have had an answer from that process to
/// something that nobody could know before the binary was read, and must then find that it [still runs](Self::still_runs).
#[derive(Debug)]
pub struct Binary {
    executable: Executable,
    selectors: BTreeSet<Selector>,
}

impl Binary {
    pub(crate) fn new(executable: Executable, selectors: BTreeSet<Selector>) -> Self {
        Self { executable, selectors }
    }

    /// `unix:path` and `unix:sha256`, as far as they are configured and can be told.
    #[must_use]
    pub fn selectors(&self) -> &BTreeSet<Selector> {
        &self.selectors
    }

    /// Checks that the peer still runs this very file.
    ///
    /// # Errors
    /// When it runs another one, or has ended.
    pub fn still_runs(&self, peer: &Peer) -> Result<(), PeerError> {
        let same = running(peer.pid()).is_some_and(|file| self.executable.is(file));
        peer.assure_alive()?;
        if same {
            Ok(())
        } else {
            Err(PeerError::BinaryChanged { pid: peer.pid() })
        }
    }
}
