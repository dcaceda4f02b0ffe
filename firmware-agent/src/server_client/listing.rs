//! What the server says an agent is authorised for, and what the agent tells it apart by.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_api::types;

use crate::{AgentError, connect::ConnectionNumber};

/// The most entries that an agent takes: a hundred times what a machine with many workloads has.
const MOST_ENTRIES: usize = 100_000;
/// The most that their messages may take, in bytes.
const MOST_BYTES: usize = 128 << 20;

/// The version that the server says an entry has: revision number and creation time. A server whose store was restored gives
/// the same version to other content, so versions compare only within one connection.
pub type EntryVersion = (i64, i64);

/// Entries as the agent has them: by id their versions, as they were told over one connection.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    /// Over which connection; `None` where that is not known, and no version says anything.
    pub connection: Option<ConnectionNumber>,
    /// Every entry's version.
    pub of: BTreeMap<String, EntryVersion>,
}

impl Versions {
    /// Whether an entry is known in this version, as `connection` tells it.
    pub(super) fn has(&self, connection: Option<ConnectionNumber>, id: &str, version: EntryVersion) -> bool {
        connection.is_some() && connection == self.connection && self.of.get(id) == Some(&version)
    }
}

/// What the server says an agent is authorised for.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every entry's id.
    pub ids: BTreeSet<String>,
    /// The entries whose content the server sent: all, or those whose version the agent did not have.
    pub told: Vec<types::Entry>,
    /// The connection over which all of it came, where that is known for sure.
    pub connection: Option<ConnectionNumber>,
    /// What the messages took that this came in.
    pub(crate) bytes: usize,
}

impl Listing {
    /// A server that never comes to an end, or is not the one it should be, does not fill the agent's memory.
    pub(super) fn check(&self) -> Result<(), AgentError> {
        let most = self.ids.len().max(self.told.len());
        if most > MOST_ENTRIES || self.bytes > MOST_BYTES {
            return Err(AgentError::Protocol("more entries than an agent takes"));
        }
        Ok(())
    }
}
