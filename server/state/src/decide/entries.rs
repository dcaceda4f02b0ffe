//! Entries: created, updated, deleted. Items of a batch stand for themselves; those that are right become durable together.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hallmark_spiffe::{SelectorSet, SpiffeId, TrustDomain};

use super::{RoleGap, RoleHolder, entry_overlay::EntryOverlay, node_load::NodeLoads, role_stands};
use crate::{Change, Decision, Entry, EntryAct, EntryDraft, EntryError, EntryId, Event, Key, Role, View, What};

/// One item of a batch.
#[derive(Clone)]
pub enum EntryOperation<'a> {
    /// Create an entry with this id.
    Create {
        /// What it is to say.
        draft: EntryDraft,
        /// Its id.
        id: EntryId,
        /// Whether the caller chose the id: then an entry before it may have had the same.
        is_chosen: bool,
    },
    /// Change the entry with this id.
    Update {
        /// Which.
        id: EntryId,
        /// From what it is to what it is to be.
        revise: &'a (dyn Fn(&mut EntryDraft) -> Result<(), String> + Send + Sync),
        /// Whether all of it is written anew, not only single fields.
        is_whole: bool,
    },
    /// Delete the entry with this id.
    Delete(EntryId),
}

/// Who writes entries.
#[derive(Debug, Clone, Copy)]
pub struct EntryWriter<'a> {
    /// An administrator over TLS; `None` at the admin socket, where everything may be written.
    pub over_tls: Option<&'a RoleHolder>,
    /// The SPIFFE IDs that the configuration makes administrators.
    pub configured: &'a BTreeSet<SpiffeId>,
    /// The longest lifetime that an entry may name for X509-SVIDs.
    pub max_ttl: Duration,
    /// Why, in the operator's words.
    pub reason: &'a str,
}

/// What becomes of one item.
#[derive(Debug, Clone)]
pub enum EntryItem {
    /// It is done: the entry as it is, or as it was where it was deleted.
    Done(Arc<Entry>),
    /// Another entry says the same.
    Similar(Arc<Entry>),
    /// It is not.
    Refused(EntryRefusal),
}

/// Why an item was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryRefusal {
    /// There is no such entry.
    NotFound,
    /// Its id is another entry's.
    IdTaken(EntryId),
    /// What is to be changed cannot be read.
    Unreadable(String),
    /// A rule for entries is broken.
    Rule(EntryError),
    /// An administrator over TLS would decide by it who has a role.
    LeadsToRole(SpiffeId),
}

/// Makes the changes in order; later items see what earlier ones do.
///
/// # Errors
/// [`RoleGap`] for an administrator over TLS who is none any more.
pub fn write_entries(
    view: View<'_>,
    operations: &[EntryOperation<'_>],
    by: &EntryWriter<'_>,
    now: i64,
) -> Result<(Decision, Vec<EntryItem>), RoleGap> {
    let mut staged = StagedEntries::default();
    let items = staged.write(&view, operations, by, now)?;
    Ok((view.decide(staged.changes, staged.events), items))
}

/// Deletes at most `limit` entries that have expired at `now` (Unix seconds). They grant nothing from their last second on;
/// this gives their room back, and their place to a new entry that says the same. Gives how many there were.
pub fn delete_expired(view: View<'_>, limit: usize, now: i64) -> (Decision, usize) {
    let expired = view.unprotected().entries().expired(now);
    let expired: Vec<_> = expired.into_iter().take(limit).cloned().collect();
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    for entry in &expired {
        // Somebody may just have given it more time.
        view.rests_on(Key::Entry(entry.id.clone()));
        changes.push(Change::DeleteEntry(Arc::clone(entry)));
        events.push(event(EntryAct::Deleted, entry, None, ""));
    }
    (view.decide(changes, events), expired.len())
}

/// What two entries that say the same share.
type Likeness = (SpiffeId, SpiffeId, SelectorSet);

/// Changes of entries over the state as it is: checked, not yet durable.
#[derive(Debug, Default)]
pub struct StagedEntries {
    overlay: EntryOverlay,
    loads: NodeLoads,
    likeness: HashMap<Likeness, EntryId>,
    changes: Vec<Change>,
    events: Vec<Event>,
}

impl StagedEntries {
    /// Stages further changes; they see what was staged before.
    ///
    /// # Errors
    /// [`RoleGap`] for an administrator over TLS who is none any more.
    pub fn write(
        &mut self,
        view: &View<'_>,
        operations: &[EntryOperation<'_>],
        by: &EntryWriter<'_>,
        now: i64,
    ) -> Result<Vec<EntryItem>, RoleGap> {
        let closed = by.over_tls.map(|holder| {
            role_stands(view, holder, Role::Admin, by.configured, now)?;
            let closed = view.entries().leading_to_roles(by.configured);
            Ok(closed.into_iter().cloned().collect::<HashSet<SpiffeId>>())
        });
        let mut batch = Batch {
            view,
            by,
            closed: closed.transpose()?,
            now,
            staged: self,
        };
        Ok(operations.iter().map(|operation| batch.item(operation)).collect())
    }
}

/// One batch, on its way.
struct Batch<'b, 's> {
    view: &'b View<'s>,
    by: &'b EntryWriter<'b>,
    /// The ids of entries that decide who has a role, where the writer may not; `None` where it may.
    closed: Option<HashSet<SpiffeId>>,
    now: i64,
    staged: &'b mut StagedEntries,
}

impl Batch<'_, '_> {
    fn item(&mut self, operation: &EntryOperation<'_>) -> EntryItem {
        let done = match operation {
            EntryOperation::Create { draft, id, is_chosen } => self.create(draft, id, *is_chosen),
            EntryOperation::Update { id, revise, is_whole } => self.update(id, *revise, *is_whole),
            EntryOperation::Delete(id) => self.delete(id),
        };
        done.unwrap_or_else(EntryItem::Refused)
    }

    fn create(&mut self, draft: &EntryDraft, id: &EntryId, is_chosen: bool) -> Result<EntryItem, EntryRefusal> {
        let state = self.view.unprotected();
        let entry = draft
            .clone()
            .validate(state.trust_domain(), bundle_known, id.clone(), self.now);
        // Agents know what they have by id, revision and second of creation. Of an entry that had this id before, no revision
        // was above the number of its last record.
        let revision = if is_chosen { state.revision() } else { 0 };
        let entry = Entry {
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            over_tls: self.by.over_tls.is_some(),
            ..entry.map_err(EntryRefusal::Rule)?
        };
        self.check(&entry, None)?;
        if let Some(similar) = self.similar(&entry) {
            return Ok(EntryItem::Similar(similar));
        }
        if self.entry(&entry.id).is_some() {
            return Err(EntryRefusal::IdTaken(entry.id));
        }
        self.put(entry, None)
    }

    fn update(
        &mut self,
        id: &EntryId,
        revise: &dyn Fn(&mut EntryDraft) -> Result<(), String>,
        is_whole: bool,
    ) -> Result<EntryItem, EntryRefusal> {
        let existing = self.entry(id).ok_or(EntryRefusal::NotFound)?;
        let mut draft = EntryDraft::from(&*existing);
        revise(&mut draft).map_err(EntryRefusal::Unreadable)?;
        let trust_domain = self.view.unprotected().trust_domain();
        let entry = draft.revise(&existing, trust_domain, bundle_known);
        // Who writes it whole at the admin socket stands behind all of it; who changes single fields does not.
        let entry = Entry {
            over_tls: self.by.over_tls.is_some() || (!is_whole && existing.over_tls),
            ..entry.map_err(EntryRefusal::Rule)?
        };
        self.check(&entry, Some(&existing))?;
        if let Some(similar) = self.similar(&entry) {
            return Ok(EntryItem::Similar(similar));
        }
        self.put(entry, Some(existing))
    }

    fn delete(&mut self, id: &EntryId) -> Result<EntryItem, EntryRefusal> {
        let existing = self.entry(id).ok_or(EntryRefusal::NotFound)?;
        self.staged.likeness.remove(&likeness(&existing));
        self.staged.changes.push(Change::DeleteEntry(Arc::clone(&existing)));
        self.staged
            .events
            .push(event(EntryAct::Deleted, &existing, None, self.by.reason));
        self.staged.overlay.delete(&existing.id);
        self.staged.loads.changed();
        Ok(EntryItem::Done(existing))
    }

    fn check(&self, entry: &Entry, before: Option<&Entry>) -> Result<(), EntryRefusal> {
        entry
            .require_ttl_within(self.by.max_ttl, before)
            .map_err(EntryRefusal::Rule)?;
        let gives = Role::ALL.iter().any(|role| entry.gives(*role));
        match &self.closed {
            Some(closed) if gives || closed.contains(&entry.spiffe_id) => {
                Err(EntryRefusal::LeadsToRole(entry.spiffe_id.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The entry as it will be.
    fn entry(&self, id: &EntryId) -> Option<Arc<Entry>> {
        match self.staged.overlay.get(id) {
            Some(after) => after.clone(),
            None => self.view.entry(id).cloned(),
        }
    }

    /// The other entry that will say the same as `entry`.
    fn similar(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let staged = self.staged.likeness.get(&likeness(entry)).filter(|id| **id != entry.id);
        if let Some(Some(staged)) = staged.and_then(|id| self.staged.overlay.get(id)) {
            return Some(Arc::clone(staged));
        }
        // What is staged for an entry counts, not what the state still has.
        let there = self.view.similar(entry);
        there
            .filter(|other| self.staged.overlay.get(&other.id).is_none())
            .cloned()
    }

    fn put(&mut self, entry: Entry, before: Option<Arc<Entry>>) -> Result<EntryItem, EntryRefusal> {
        let entry = Arc::new(entry);
        let StagedEntries { overlay, loads, .. } = &mut *self.staged;
        let was = overlay.put(&entry);
        let room = loads.require_room(self.view.unprotected(), overlay, &entry, before.as_deref());
        if let Err(error) = room {
            overlay.restore(&entry.id, was);
            return Err(EntryRefusal::Rule(error));
        }
        if let Some(before) = &before {
            self.staged.loads.changed();
            self.staged.likeness.remove(&likeness(before));
        }
        let act = if before.is_some() {
            EntryAct::Updated
        } else {
            EntryAct::Created
        };
        self.staged
            .events
            .push(event(act, &entry, before.clone(), self.by.reason));
        self.staged.changes.push(Change::PutEntry {
            entry: Arc::clone(&entry),
            replaces: before,
        });
        self.staged.likeness.insert(likeness(&entry), entry.id.clone());
        Ok(EntryItem::Done(entry))
    }
}

fn event(act: EntryAct, entry: &Arc<Entry>, before: Option<Arc<Entry>>, reason: &str) -> Event {
    let what = What::Entry {
        act,
        entry: Arc::clone(entry),
        before,
        reason: reason.to_owned(),
    };
    Event::done(entry.id.as_str(), what)
}

fn likeness(entry: &Entry) -> Likeness {
    (
        entry.spiffe_id.clone(),
        entry.parent_id.clone(),
        entry.selectors.clone(),
    )
}

/// Whether the bundle of a foreign trust domain is known: there is no federation, so none is.
const fn bundle_known(_: &TrustDomain) -> bool {
    false
}
