//! What the server says an agent is authorised for, and what the agent tells it apart by.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_api::{entry::EntryRevision, types};
use prost::Message;

use crate::{AgentError, connect::ConnectionNumber};

/// The most entries that an agent takes: a hundred times what a machine with many workloads has.
const MOST_ENTRIES: usize = 100_000;
/// The most that their messages may take, in bytes.
const MOST_BYTES: usize = 128 << 20;
/// The most entries that a listing may name, and bytes that it may come in: one that is longer has no end.
const LONGEST: usize = 10 * MOST_ENTRIES;
const LARGEST: usize = 4 * MOST_BYTES;

/// The version that the server says an entry has: revision number and creation time. A server whose store was restored gives
/// the same version to other content, so versions compare only within one connection.
pub type EntryVersion = (i64, i64);

/// An entry as the agent has it: its version, and what its message took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownEntry {
    /// The version.
    pub version: EntryVersion,
    /// In bytes.
    pub bytes: usize,
}

/// Entries as the agent has them: by id their versions, as they were told over one connection.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    /// Over which connection; `None` where that is not known, and no version says anything.
    pub connection: Option<ConnectionNumber>,
    /// Every entry.
    pub of: BTreeMap<String, KnownEntry>,
}

impl Versions {
    /// What an entry's message took that is known in this version, as `connection` tells it.
    fn has(&self, connection: Option<ConnectionNumber>, id: &str, version: EntryVersion) -> Option<usize> {
        let known = self.of.get(id).filter(|known| known.version == version)?;
        (connection.is_some() && connection == self.connection).then_some(known.bytes)
    }
}

/// What the server says an agent is authorised for, as far as the agent takes it.
#[derive(Debug, Default)]
pub struct Listing {
    /// The id of every entry that the agent goes on with, or takes up.
    pub ids: BTreeSet<String>,
    /// The entries whose content the server sent: all, or those whose version the agent did not have.
    pub told: Vec<types::Entry>,
    /// The connection over which all of it came, where that is known for sure.
    pub connection: Option<ConnectionNumber>,
    /// How many entries the server named.
    pub named: usize,
    /// How many of them are more than the agent takes.
    pub beyond: usize,
    /// What the messages of all taken entries take.
    pub(crate) taken: usize,
    /// What has come.
    pub(crate) came: usize,
    /// Whether an entry that came found no room.
    pub(crate) is_full: bool,
}

impl Listing {
    /// Nothing yet, over this connection.
    pub(super) fn over(connection: Option<ConnectionNumber>) -> Self {
        Self {
            connection,
            ..Self::default()
        }
    }

    /// Sorts out what a page of revisions names: what the agent has in this version stays, what it has in another one comes
    /// before what is new.
    ///
    /// # Errors
    /// As [`counted`](Self::counted).
    pub(super) fn name(
        &mut self,
        revisions: Vec<EntryRevision>,
        have: &Versions,
        wanted: &mut Wanted,
    ) -> Result<(), AgentError> {
        self.counted(revisions.len(), revisions.iter().map(Message::encoded_len).sum())?;
        for revision in revisions {
            let version = (revision.revision_number, revision.created_at);
            if let Some(bytes) = have.has(self.connection, &revision.id, version) {
                self.taken = self.taken.saturating_add(bytes);
                self.ids.insert(revision.id);
            } else if have.of.contains_key(&revision.id) {
                wanted.changed.insert(revision.id);
            } else {
                wanted.new.insert((revision.created_at, revision.id));
                // The youngest go: who writes entries cannot push out those that were there before.
                if wanted.new.len() > MOST_ENTRIES && wanted.new.pop_last().is_some() {
                    self.beyond = self.beyond.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// The entries to ask for, of those that are wanted: no more than there is room for.
    pub(super) fn room(&mut self, wanted: Wanted) -> Vec<String> {
        let all = wanted.changed.len().saturating_add(wanted.new.len());
        let room = MOST_ENTRIES.saturating_sub(self.ids.len()).min(all);
        self.beyond = self.beyond.saturating_add(all.saturating_sub(room));
        let new = wanted.new.into_iter().map(|(_, id)| id);
        wanted.changed.into_iter().chain(new).take(room).collect()
    }

    /// Takes the entries of a page, in order, up to the first for which there is no room; says whether there was room for all.
    ///
    /// # Errors
    /// As [`counted`](Self::counted).
    pub(super) fn take(&mut self, page: Vec<types::Entry>, names: bool) -> Result<bool, AgentError> {
        let bytes = page.iter().map(Message::encoded_len).sum();
        self.counted(if names { page.len() } else { 0 }, bytes)?;
        for entry in page {
            let taken = self.taken.saturating_add(entry.encoded_len());
            if self.is_full || taken > MOST_BYTES || self.ids.len() >= MOST_ENTRIES {
                self.is_full = true;
                self.beyond = self.beyond.saturating_add(1);
                continue;
            }
            self.taken = taken;
            self.ids.insert(entry.id.clone());
            self.told.push(entry);
        }
        Ok(!self.is_full)
    }

    /// What is to be told of the entries that are more than the agent takes.
    pub(crate) fn not_taken(&self) -> Option<AgentError> {
        (self.beyond > 0).then(|| AgentError::EntriesBeyond {
            beyond: self.beyond,
            named: self.named,
            most: format!("{MOST_ENTRIES} of {} MiB are taken", MOST_BYTES >> 20),
        })
    }

    /// Counts what came: a server that goes on for ever, or is not the one it should be, does not hold the agent.
    ///
    /// # Errors
    /// More than any server tells.
    fn counted(&mut self, named: usize, bytes: usize) -> Result<(), AgentError> {
        self.named = self.named.saturating_add(named);
        self.came = self.came.saturating_add(bytes);
        if self.named > LONGEST || self.came > LARGEST {
            return Err(AgentError::Protocol("a listing of entries without an end"));
        }
        Ok(())
    }
}

/// Entries that the agent does not have as the server names them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Those that it has in another version.
    changed: BTreeSet<String>,
    /// Those that it does not have, by their time of creation: the oldest first.
    new: BTreeSet<(i64, String)>,
}
