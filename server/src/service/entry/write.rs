//! Creating, updating and deleting entries. Items of a batch stand for themselves; those that are right become
//! durable together.

use std::{collections::HashSet, sync::Arc, time::Duration};

use hallmark_api::{
    admin::CheckEntriesRequest,
    entry::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryResponse, BatchUpdateEntryRequest,
        BatchUpdateEntryResponse, batch_create_entry_response, batch_delete_entry_response,
        batch_update_entry_response,
    },
    types,
};
use hallmark_reason::Coded as _;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Entry, EntryDraft, EntryError, EntryId, Registry, Role};
use tonic::Status;
use uuid::Uuid;

use super::staged::Staged;
use crate::{
    caller::{self, Act, Caller, RoleError},
    convert::{MAX_BATCH, apply_mask, entry_draft, entry_message, failed_item, ok_item},
    state::Server,
};

/// What becomes of one item.
enum Item {
    /// It goes into the store.
    Staged(Arc<Entry>),
    /// Another entry says the same.
    Similar(Arc<Entry>),
    Refused(Status),
}

impl From<Result<Self, Status>> for Item {
    fn from(result: Result<Self, Status>) -> Self {
        result.unwrap_or_else(Self::Refused)
    }
}

impl Item {
    /// The item's answer, after the commit.
    fn answer(
        self,
        committed: &Result<(), Status>,
        mask: Option<&types::EntryMask>,
    ) -> (Option<types::Status>, Option<types::Entry>) {
        match (self, committed) {
            (Self::Staged(entry), Ok(())) => (Some(ok_item()), Some(entry_message(&entry, mask))),
            (Self::Staged(_), Err(status)) => (Some(failed_item(status)), None),
            (Self::Similar(entry), _) => {
                let status = Status::already_exists("similar entry already exists");
                (Some(failed_item(&status)), Some(entry_message(&entry, mask)))
            }
            (Self::Refused(status), _) => (Some(failed_item(&status)), None),
        }
    }
}

/// `BatchCreateEntry`.
pub(super) async fn create(
    server: &Server,
    by: &Caller,
    act: &Act,
    request: &BatchCreateEntryRequest,
) -> Result<BatchCreateEntryResponse, Status> {
    check_size(request.entries.len())?;
    let _turn = server.entry_writer.lock().await;
    let _standing = caller::hold(server, by).await?;
    let now = server.clock.unix();
    let mut staged = Staged::new(act, now);
    let items: Vec<Item> = {
        let registry = server.registry();
        let bounds = Bounds::of(server, &registry, by);
        request
            .entries
            .iter()
            .map(|message| create_one(&bounds, &mut staged, message, now).into())
            .collect()
    };
    let committed = staged.commit(server).await;
    let answer = |item: Item| {
        let (status, entry) = item.answer(&committed, request.output_mask.as_ref());
        batch_create_entry_response::Result { status, entry }
    };
    Ok(BatchCreateEntryResponse {
        results: items.into_iter().map(answer).collect(),
    })
}

/// What may be written.
struct Bounds<'a> {
    registry: &'a Registry,
    over_tls: bool,
    max_ttl: Duration,
    /// The ids of entries that decide who has a role, where the caller may not; `None` where it may.
    closed: Option<HashSet<SpiffeId>>,
}

impl<'a> Bounds<'a> {
    /// At the admin socket everything may be written; over TLS nothing that gives a role to anybody: an administrator whose
    /// machine is put out must not find another one prepared.
    fn of(server: &'a Server, registry: &'a Registry, by: &Caller) -> Self {
        let over_tls = by.role_holder().is_some();
        Self {
            registry,
            over_tls,
            max_ttl: server.lifetimes.x509_svid.max,
            closed: over_tls.then(|| {
                let configured = server.admin_ids.load();
                registry
                    .leading_to_roles(configured.iter())
                    .into_iter()
                    .cloned()
                    .collect()
            }),
        }
    }

    fn check(&self, entry: &Entry, before: Option<&Entry>) -> Result<(), Status> {
        entry
            .require_ttl_within(self.max_ttl, before)
            .map_err(|error| broken_rule(&error))?;
        let gives = Role::ALL.iter().any(|role| entry.gives(*role));
        match &self.closed {
            Some(closed) if gives || closed.contains(&entry.spiffe_id) => Err(RoleError::LeadsToRole {
                id: entry.spiffe_id.clone(),
            }
            .into()),
            _ => Ok(()),
        }
    }
}

fn create_one(bounds: &Bounds<'_>, staged: &mut Staged<'_>, message: &types::Entry, now: i64) -> Result<Item, Status> {
    let registry = bounds.registry;
    let draft = entry_draft(message).map_err(|status| unreadable(&status))?;
    let id = match message.id.as_str() {
        "" => EntryId::parse(&Uuid::new_v4().to_string()),
        chosen => EntryId::parse(chosen),
    };
    let entry = id
        .and_then(|id| draft.validate(registry.trust_domain(), bundle_known, id, now))
        .map_err(|error| broken_rule(&error))?;
    let entry = Entry {
        over_tls: bounds.over_tls,
        ..entry
    };
    bounds.check(&entry, None)?;
    if let Some(similar) = staged.similar(registry, &entry) {
        return Ok(Item::Similar(similar));
    }
    if staged.entry(registry, &entry.id).is_some() {
        return Err(Status::already_exists(format!(
            "entry ID {} is taken by another entry",
            entry.id
        )));
    }
    Ok(Item::Staged(staged.create(entry)))
}

/// `BatchUpdateEntry`.
pub(super) async fn update(
    server: &Server,
    by: &Caller,
    act: &Act,
    request: &BatchUpdateEntryRequest,
) -> Result<BatchUpdateEntryResponse, Status> {
    check_size(request.entries.len())?;
    let _turn = server.entry_writer.lock().await;
    let _standing = caller::hold(server, by).await?;
    let mut staged = Staged::new(act, server.clock.unix());
    let mask = request.input_mask.as_ref();
    let items: Vec<Item> = {
        let registry = server.registry();
        let bounds = Bounds::of(server, &registry, by);
        request
            .entries
            .iter()
            .map(|message| update_one(&bounds, &mut staged, message, mask).into())
            .collect()
    };
    let committed = staged.commit(server).await;
    let answer = |item: Item| {
        let (status, entry) = item.answer(&committed, request.output_mask.as_ref());
        batch_update_entry_response::Result { status, entry }
    };
    Ok(BatchUpdateEntryResponse {
        results: items.into_iter().map(answer).collect(),
    })
}

fn update_one(
    bounds: &Bounds<'_>,
    staged: &mut Staged<'_>,
    message: &types::Entry,
    mask: Option<&types::EntryMask>,
) -> Result<Item, Status> {
    let registry = bounds.registry;
    let existing = find(registry, staged, &message.id)?;
    let mut draft = EntryDraft::from(&*existing);
    apply_mask(&mut draft, message, mask).map_err(|status| unreadable(&status))?;
    let entry = draft
        .revise(&existing, registry.trust_domain(), bundle_known)
        .map_err(|error| broken_rule(&error))?;
    // Who writes it whole at the admin socket stands behind all of it; who changes single fields does not.
    let entry = Entry {
        over_tls: bounds.over_tls || (mask.is_some() && existing.over_tls),
        ..entry
    };
    bounds.check(&entry, Some(&existing))?;
    if let Some(similar) = staged.similar(registry, &entry) {
        return Ok(Item::Similar(similar));
    }
    Ok(Item::Staged(staged.update(&existing, entry)))
}

/// `BatchDeleteEntry`.
pub(super) async fn delete(
    server: &Server,
    by: &Caller,
    act: &Act,
    ids: Vec<String>,
) -> Result<BatchDeleteEntryResponse, Status> {
    check_size(ids.len())?;
    let _turn = server.entry_writer.lock().await;
    let _standing = caller::hold(server, by).await?;
    let mut staged = Staged::new(act, server.clock.unix());
    let items: Vec<Result<(), Status>> = {
        let registry = server.registry();
        ids.iter().map(|id| delete_one(&registry, &mut staged, id)).collect()
    };
    let committed = staged.commit(server).await;
    let answer = |(id, item): (String, Result<(), Status>)| {
        let status = match item.and_then(|()| committed.clone()) {
            Ok(()) => ok_item(),
            Err(status) => failed_item(&status),
        };
        batch_delete_entry_response::Result {
            status: Some(status),
            id,
        }
    };
    Ok(BatchDeleteEntryResponse {
        results: ids.into_iter().zip(items).map(answer).collect(),
    })
}

fn delete_one(registry: &Registry, staged: &mut Staged<'_>, id: &str) -> Result<(), Status> {
    find(registry, staged, id).map(|entry| staged.delete(&entry))
}

/// Stages changes that nobody will commit: the answer to each, and the id of the entry that says the same, where one does.
pub(super) fn rehearse(
    server: &Server,
    by: &Caller,
    staged: &mut Staged<'_>,
    part: &CheckEntriesRequest,
) -> Result<Vec<(types::Status, String)>, Status> {
    check_size(part.deletes.len() + part.updates.len() + part.creates.len())?;
    let now = server.clock.unix();
    let registry = server.registry();
    let bounds = Bounds::of(server, &registry, by);
    let told = |item: Item| {
        let similar_id = match &item {
            Item::Similar(entry) => entry.id.to_string(),
            Item::Staged(_) | Item::Refused(_) => String::new(),
        };
        (item.answer(&Ok(()), None).0.unwrap_or_default(), similar_id)
    };
    let mut outcomes = Vec::new();
    for id in &part.deletes {
        let status = delete_one(&registry, staged, id).map_or_else(|status| failed_item(&status), |()| ok_item());
        outcomes.push((status, String::new()));
    }
    let mask = part.update_mask.as_ref();
    for message in &part.updates {
        outcomes.push(told(update_one(&bounds, staged, message, mask).into()));
    }
    for message in &part.creates {
        outcomes.push(told(create_one(&bounds, staged, message, now).into()));
    }
    Ok(outcomes)
}

fn find(registry: &Registry, staged: &Staged<'_>, id: &str) -> Result<Arc<Entry>, Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("missing entry ID"));
    }
    // An id that cannot be one is not there either.
    let id = EntryId::parse(id).map_err(|_| Status::not_found("entry not found"))?;
    staged
        .entry(registry, &id)
        .ok_or_else(|| Status::not_found("entry not found"))
}

fn check_size(count: usize) -> Result<(), Status> {
    if count > MAX_BATCH {
        return Err(Status::invalid_argument(format!(
            "{count} items in one batch, at most {MAX_BATCH} allowed"
        )));
    }
    Ok(())
}

/// Whether the bundle of a foreign trust domain is known: there is no federation, so none is.
const fn bundle_known(_: &TrustDomain) -> bool {
    false
}

fn unreadable(status: &Status) -> Status {
    Status::invalid_argument(format!("failed to convert entry: {}", status.message()))
}

fn broken_rule(error: &EntryError) -> Status {
    let compared = error
        .compared()
        .map(|compared| format!(": {compared}"))
        .unwrap_or_default();
    Status::invalid_argument(format!("failed to convert entry: {error}{compared} ({})", error.code()))
}
