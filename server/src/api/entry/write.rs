//! Creating, updating and deleting entries. Items of a batch stand for themselves; those that are right become
//! durable together.

use std::{sync::Arc, time::Duration};

use hallmark_api::{
    admin::CheckEntriesRequest,
    entry::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryResponse, BatchUpdateEntryRequest,
        BatchUpdateEntryResponse, batch_create_entry_response, batch_delete_entry_response,
        batch_update_entry_response,
    },
    types,
};
use hallmark_reason::{Coded, ReasonCode, Report};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    EntryDraft, EntryError, EntryId, Role, View,
    decide::{EntryItem, EntryOperation, EntryRefusal, EntryWriter, RoleGap, StagedEntries, write_entries},
};
use prost::Message as _;
use tonic::Status;
use uuid::Uuid;

use crate::{
    caller::{AdminIds, Caller, RoleError},
    convert::{MAX_BATCH, apply_mask, entry_draft, entry_message, failed_item, ok_item},
    journal::{Act, Failed, Journal, store_failed},
};

/// The most that the entries of one answer take, encoded: tools read messages of 4 MiB.
const ANSWER_BYTES: usize = 3 << 20;

/// Nobody could read the answer to a batch.
#[derive(Debug, thiserror::Error)]
#[error("the answer to this batch of entries would be too large; nothing was changed")]
struct AnswerTooLarge {
    bytes: usize,
}

impl Coded for AnswerTooLarge {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-REG-0091")
    }

    fn compared(&self) -> Option<String> {
        Some(format!(
            "{} bytes of entries, at most {ANSWER_BYTES} allowed",
            self.bytes
        ))
    }
}

/// An operation, or why the item cannot be one.
type Operation<'a> = Result<EntryOperation<'a>, Status>;
/// What became of an item.
type Item = Result<EntryItem, Status>;

/// Changes entries as operators ask.
#[derive(Debug, Clone)]
pub struct EntryChanges {
    journal: Arc<Journal>,
    admin_ids: AdminIds,
    /// The longest that an entry may let its SVIDs live.
    max_ttl: Duration,
}

impl EntryChanges {
    /// Changes of the entries of `journal`, whose SVIDs live for `max_ttl` at most.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, admin_ids: AdminIds, max_ttl: Duration) -> Self {
        Self {
            journal,
            admin_ids,
            max_ttl,
        }
    }

    /// `BatchCreateEntry`.
    pub(super) async fn create(
        &self,
        by: &Caller,
        act: &Act,
        request: &BatchCreateEntryRequest,
    ) -> Result<BatchCreateEntryResponse, Status> {
        let items = request.entries.iter().map(creation).collect();
        let mask = request.output_mask.as_ref();
        let items = self.write(by, act, items, Some(mask)).await?;
        let answer = |item| {
            let (status, entry) = answer(item, mask);
            batch_create_entry_response::Result { status, entry }
        };
        Ok(BatchCreateEntryResponse {
            results: items.into_iter().map(answer).collect(),
        })
    }

    /// `BatchUpdateEntry`.
    pub(super) async fn update(
        &self,
        by: &Caller,
        act: &Act,
        request: &BatchUpdateEntryRequest,
    ) -> Result<BatchUpdateEntryResponse, Status> {
        let revisions = revisions(&request.entries, request.input_mask.as_ref());
        let items = revisions.iter().map(|revision| revision.operation()).collect();
        let mask = request.output_mask.as_ref();
        let items = self.write(by, act, items, Some(mask)).await?;
        let answer = |item| {
            let (status, entry) = answer(item, mask);
            batch_update_entry_response::Result { status, entry }
        };
        Ok(BatchUpdateEntryResponse {
            results: items.into_iter().map(answer).collect(),
        })
    }

    /// `BatchDeleteEntry`.
    pub(super) async fn delete(
        &self,
        by: &Caller,
        act: &Act,
        ids: Vec<String>,
    ) -> Result<BatchDeleteEntryResponse, Status> {
        let items = ids.iter().map(|id| Ok(EntryOperation::Delete(known_id(id)?))).collect();
        let items = self.write(by, act, items, None).await?;
        let answer = |(id, item)| {
            let (status, _) = answer(item, None);
            batch_delete_entry_response::Result { status, id }
        };
        Ok(BatchDeleteEntryResponse {
            results: ids.into_iter().zip(items).map(answer).collect(),
        })
    }

    /// Writes the entries; an item that is no operation stays what it is. `answered` says which of their fields the answer has;
    /// `None` where it has no entries.
    async fn write(
        &self,
        by: &Caller,
        act: &Act,
        items: Vec<Operation<'_>>,
        answered: Option<Option<&types::EntryMask>>,
    ) -> Result<Vec<Item>, Status> {
        check_size(items.len())?;
        let (operations, mut places) = sorted(items);
        let configured = self.admin_ids.load();
        let writer = self.writer(by, &configured, &act.reason);
        let decided = self.journal.decide(&act.by, |view| {
            let written = write_entries(view, &operations, &writer, self.journal.clock().unix());
            let (decision, items) = written.map_err(|gap| no_longer(gap, by))?;
            require_answerable(&items, answered)?;
            Ok((decision, items))
        });
        match decided.await {
            Ok(done) => fill(&mut places, done.answer.into_iter().map(Ok)),
            Err(Failed::Refused(refusal)) => return Err(refusal),
            Err(Failed::Store(error)) => {
                // What is right by itself hears that it was not kept; what is wrong stays wrong.
                let failed = Status::internal(store_failed(&error).message());
                let state = self.journal.state();
                let items = StagedEntries::default().write(
                    &View::new(&state),
                    &operations,
                    &writer,
                    self.journal.clock().unix(),
                );
                let items = items.map_err(|gap| no_longer(gap, by))?.into_iter();
                fill(
                    &mut places,
                    items.map(|item| match item {
                        EntryItem::Done(_) => Err(failed.clone()),
                        other => Ok(other),
                    }),
                );
            }
        }
        Ok(places.into_iter().map(place).collect())
    }

    fn writer<'a>(
        &self,
        by: &'a Caller,
        configured: &'a std::collections::BTreeSet<SpiffeId>,
        reason: &'a str,
    ) -> EntryWriter<'a> {
        EntryWriter {
            over_tls: by.role_holder(),
            configured,
            max_ttl: self.max_ttl,
            reason,
        }
    }

    /// Stages changes that nobody will commit: the answer to each, and the id of the entry that says the same, where one does.
    pub(super) fn rehearse(
        &self,
        by: &Caller,
        staged: &mut StagedEntries,
        part: &CheckEntriesRequest,
    ) -> Result<Vec<(types::Status, String)>, Status> {
        check_size(part.deletes.len() + part.updates.len() + part.creates.len())?;
        let revisions = revisions(&part.updates, part.update_mask.as_ref());
        let deletes = part.deletes.iter().map(|id| Ok(EntryOperation::Delete(known_id(id)?)));
        let updates = revisions.iter().map(Revision::operation);
        let items = deletes.chain(updates).chain(part.creates.iter().map(creation));
        let (operations, mut places) = sorted(items.collect());
        let configured = self.admin_ids.load();
        let written = {
            let state = self.journal.state();
            let writer = self.writer(by, &configured, "");
            staged.write(&View::new(&state), &operations, &writer, self.journal.clock().unix())
        };
        let written = written.map_err(|gap| no_longer(gap, by))?;
        fill(&mut places, written.into_iter().map(Ok));
        let told = |item: Item| {
            let similar_id = match &item {
                Ok(EntryItem::Similar(entry)) => entry.id.to_string(),
                _ => String::new(),
            };
            (answer(item, None).0.unwrap_or_default(), similar_id)
        };
        Ok(places.into_iter().map(place).map(told).collect())
    }
}

/// The operations, and the place of each item: `None` for one that is an operation.
fn sorted(items: Vec<Operation<'_>>) -> (Vec<EntryOperation<'_>>, Vec<Option<Item>>) {
    let mut operations = Vec::with_capacity(items.len());
    let places = items.into_iter().map(|item| match item {
        Ok(operation) => {
            operations.push(operation);
            None
        }
        Err(status) => Some(Err(status)),
    });
    let places = places.collect();
    (operations, places)
}

fn fill(places: &mut [Option<Item>], items: impl Iterator<Item = Item>) {
    let open = places.iter_mut().filter(|place| place.is_none());
    open.zip(items).for_each(|(place, item)| *place = Some(item));
}

fn place(item: Option<Item>) -> Item {
    item.unwrap_or_else(|| Err(Status::internal("an item was lost")))
}

fn no_longer(gap: RoleGap, by: &Caller) -> Status {
    match by.role_holder() {
        Some(holder) => RoleError::of(gap, holder, Role::Admin).into(),
        None => Status::permission_denied("authorization denied"),
    }
}

fn creation(message: &types::Entry) -> Operation<'_> {
    let draft = entry_draft(message).map_err(|status| unreadable(status.message()))?;
    let is_chosen = !message.id.is_empty();
    let id = match message.id.as_str() {
        "" => EntryId::parse(&Uuid::new_v4().to_string()),
        chosen => EntryId::parse(chosen),
    };
    let id = id.map_err(|error| broken_rule(&error))?;
    Ok(EntryOperation::Create { draft, id, is_chosen })
}

/// From what an entry is to what a message says.
type Revise<'a> = Box<dyn Fn(&mut EntryDraft) -> Result<(), String> + Send + Sync + 'a>;

/// One update.
struct Revision<'a> {
    id: &'a str,
    revise: Revise<'a>,
    is_whole: bool,
}

impl Revision<'_> {
    fn operation(&self) -> Operation<'_> {
        Ok(EntryOperation::Update {
            id: known_id(self.id)?,
            revise: &*self.revise,
            is_whole: self.is_whole,
        })
    }
}

fn revisions<'a>(messages: &'a [types::Entry], mask: Option<&'a types::EntryMask>) -> Vec<Revision<'a>> {
    let revision = |message: &'a types::Entry| Revision {
        id: &message.id,
        revise: Box::new(move |draft| apply_mask(draft, message, mask).map_err(|status| status.message().to_owned())),
        is_whole: mask.is_none(),
    };
    messages.iter().map(revision).collect()
}

/// An item's answer.
fn answer(item: Item, mask: Option<&types::EntryMask>) -> (Option<types::Status>, Option<types::Entry>) {
    let entry = |entry: &Arc<_>| Some(entry_message(entry, mask));
    match item {
        Ok(EntryItem::Done(it)) => (Some(ok_item()), entry(&it)),
        Ok(EntryItem::Similar(it)) => {
            let status = Status::already_exists("similar entry already exists");
            (Some(failed_item(&status)), entry(&it))
        }
        Ok(EntryItem::Refused(refusal)) => (Some(failed_item(&refused(refusal))), None),
        Err(status) => (Some(failed_item(&status)), None),
    }
}

fn refused(refusal: EntryRefusal) -> Status {
    match refusal {
        EntryRefusal::NotFound => Status::not_found("entry not found"),
        EntryRefusal::IdTaken(id) => Status::already_exists(format!("entry ID {id} is taken by another entry")),
        EntryRefusal::Unreadable(reason) => unreadable(&reason),
        EntryRefusal::Rule(error) => broken_rule(&error),
        EntryRefusal::LeadsToRole(id) => RoleError::LeadsToRole { id }.into(),
    }
}

fn known_id(id: &str) -> Result<EntryId, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("missing entry ID"));
    }
    // An id that cannot be one is not there either.
    EntryId::parse(id).map_err(|_| Status::not_found("entry not found"))
}

fn check_size(count: usize) -> Result<(), Status> {
    if count > MAX_BATCH {
        return Err(Status::invalid_argument(format!(
            "{count} items in one batch, at most {MAX_BATCH} allowed"
        )));
    }
    Ok(())
}

/// Before anything is changed: whoever asks could not read what became of it.
fn require_answerable(items: &[EntryItem], answered: Option<Option<&types::EntryMask>>) -> Result<(), Status> {
    let Some(mask) = answered else { return Ok(()) };
    let bytes = items.iter().map(|item| match item {
        EntryItem::Done(entry) | EntryItem::Similar(entry) => entry_message(entry, mask).encoded_len(),
        EntryItem::Refused(_) => 0,
    });
    let bytes: usize = bytes.sum();
    if bytes <= ANSWER_BYTES {
        return Ok(());
    }
    Err(Status::invalid_argument(Report(&AnswerTooLarge { bytes }).to_string()))
}

fn unreadable(reason: &str) -> Status {
    Status::invalid_argument(format!("failed to convert entry: {reason}"))
}

fn broken_rule(error: &EntryError) -> Status {
    let compared = error
        .compared()
        .map(|compared| format!(": {compared}"))
        .unwrap_or_default();
    Status::invalid_argument(format!("failed to convert entry: {error}{compared} ({})", error.code()))
}
