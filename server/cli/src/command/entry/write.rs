//! Entries on their way to the server: asked of it first where nothing may change, told what never matches.

use std::collections::BTreeMap;

use hallmark_api::{
    admin::{CheckEntriesRequest, CheckEntriesResponse},
    entry::{BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest},
    types::{self, entry::AdditionalAttributes},
};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{EntryDraft, selector_warnings};
use prost::Message as _;
use tonic::{Code, Status};

use super::{Context, selector_message};
use crate::{
    args::Change,
    client::{Client, with_reason},
    error::CliError,
    exit::Exit,
    lookup::id_message,
    output::{show, warn},
    view::entry::{EntryChange, EntryView},
};

/// Items in one request: below the server's limit.
const BATCH: usize = 500;
/// The most that they take, encoded: the answer has them again, and a gRPC message has 4 MiB at most.
const BATCH_BYTES: usize = 1 << 20;

/// What shows whether a change was made.
const LOOK: &str = "hallmark entry list";

/// Parts of `entries` that each fit one request; one that is larger is a part of its own.
fn batches(entries: &[types::Entry]) -> impl Iterator<Item = &[types::Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = |entry: &&types::Entry| {
            bytes = bytes.saturating_add(entry.encoded_len());
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH).take_while(fits).count().max(1);
        let (batch, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(batch)
    })
}

/// What becomes of an item: the entry as it is now, or why not.
pub(super) type Written = Result<types::Entry, CliError>;

/// Changes of entries, in the order in which they are made: deletes, updates, creates.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) deletes: Vec<String>,
    pub(super) updates: Vec<types::Entry>,
    /// What changes of the updates; all of them without it.
    pub(super) mask: Option<types::EntryMask>,
    pub(super) creates: Vec<types::Entry>,
}

impl Changes {
    fn parts(self) -> Vec<CheckEntriesRequest> {
        let deletes = self.deletes.chunks(BATCH).map(|ids| CheckEntriesRequest {
            deletes: ids.to_vec(),
            ..Default::default()
        });
        let updates = batches(&self.updates).map(|entries| CheckEntriesRequest {
            updates: entries.to_vec(),
            update_mask: self.mask,
            ..Default::default()
        });
        let creates = batches(&self.creates).map(|entries| CheckEntriesRequest {
            creates: entries.to_vec(),
            ..Default::default()
        });
        deletes.chain(updates).chain(creates).collect()
    }
}

/// Asks the server which of the changes it would refuse, and why; nothing is changed. Gives their places among all.
pub(super) async fn refused(client: &Client, changes: Changes) -> Result<Vec<(usize, CliError)>, CliError> {
    let mut admin = client.admin();
    let answer = admin.check_entries(tokio_stream::iter(changes.parts())).await?;
    let CheckEntriesResponse { refused } = answer.into_inner();
    let told = refused.into_iter().map(|one| {
        let status = one.status.unwrap_or_default();
        let error = if one.similar_id.is_empty() {
            CliError::of_item(status.code, &status.message)
        } else {
            CliError::Similar { id: one.similar_id }
        };
        (usize::try_from(one.place).unwrap_or(usize::MAX), error)
    });
    Ok(told.collect())
}

/// Fails with what the server says where it would refuse one of the changes.
pub(super) async fn require_taken(client: &Client, changes: Changes) -> Result<(), CliError> {
    let refused = refused(client, changes).await?;
    refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// Creates one entry.
pub(super) async fn create(client: &Client, entry: types::Entry, reason: &str) -> Written {
    one(create_all(client, vec![entry], reason).await)
}

/// Replaces what `mask` names of one entry; without one, all of it.
pub(super) async fn update(
    client: &Client,
    entry: types::Entry,
    mask: Option<types::EntryMask>,
    reason: &str,
) -> Written {
    one(update_all(client, vec![entry], mask, reason).await)
}

fn one(answers: Answers<Written>) -> Written {
    match answers.cut {
        Some(cut) => Err(cut.error),
        None => answers.results.into_iter().next().ok_or_else(|| missing("a result"))?,
    }
}

/// What became of items that were sent in parts: those that were answered, in their order, and what ended them before the last.
#[derive(Debug)]
pub(super) struct Answers<T> {
    pub(super) results: Vec<T>,
    pub(super) cut: Option<Cut>,
}

impl<T> Answers<T> {
    const fn new() -> Self {
        Self {
            results: Vec::new(),
            cut: None,
        }
    }

    fn take<R>(&mut self, results: Vec<R>, outcome: impl Fn(R) -> T) {
        self.results.extend(results.into_iter().map(outcome));
    }

    fn cut(mut self, status: Status, asked: usize) -> Self {
        let error = CliError::of_change(status, LOOK);
        self.cut = Some(Cut { error, asked });
        self
    }
}

/// A part that got no answer.
#[derive(Debug)]
pub(super) struct Cut {
    error: CliError,
    /// How many items it has.
    asked: usize,
}

impl Cut {
    /// The error of the whole command, whose changes have these names: the first `answered` were. `look` is the next step.
    pub(super) fn told(self, names: &[String], answered: usize, look: String) -> CliError {
        let unknown = match (&self.error, names.get(answered..answered.saturating_add(self.asked))) {
            (CliError::OutcomeUnknown { .. }, Some([one])) => one.clone(),
            (CliError::OutcomeUnknown { .. }, Some([first, .., last])) => {
                format!("{first} to {last} ({} changes)", self.asked)
            }
            // What the server itself says is known: nothing of the part was made.
            _ => "none".to_owned(),
        };
        CliError::CutOff {
            answered,
            all: names.len(),
            unknown: hallmark_host::printable(&unknown),
            exit: self.error.exit(),
            cause: format!("{}: {}", hallmark_reason::Coded::code(&self.error), self.error),
            look,
        }
    }
}

/// Creates entries; each stands for itself.
pub(super) async fn create_all(client: &Client, entries: Vec<types::Entry>, reason: &str) -> Answers<Written> {
    let mut written = Answers::new();
    for batch in batches(&entries) {
        let request = BatchCreateEntryRequest {
            entries: batch.to_vec(),
            output_mask: None,
        };
        match client.entries().batch_create_entry(with_reason(request, reason)).await {
            Ok(answer) => written.take(answer.into_inner().results, |result| {
                outcome(result.status, result.entry)
            }),
            Err(status) => return written.cut(status, batch.len()),
        }
    }
    written
}

/// Updates entries, named by their ids; each stands for itself. Without a mask they are replaced whole.
pub(super) async fn update_all(
    client: &Client,
    entries: Vec<types::Entry>,
    mask: Option<types::EntryMask>,
    reason: &str,
) -> Answers<Written> {
    let mut written = Answers::new();
    for batch in batches(&entries) {
        let request = BatchUpdateEntryRequest {
            entries: batch.to_vec(),
            input_mask: mask,
            output_mask: None,
        };
        match client.entries().batch_update_entry(with_reason(request, reason)).await {
            Ok(answer) => written.take(answer.into_inner().results, |result| {
                outcome(result.status, result.entry)
            }),
            Err(status) => return written.cut(status, batch.len()),
        }
    }
    written
}

/// Deletes entries; each stands for itself.
pub(super) async fn delete_all(client: &Client, ids: Vec<String>, reason: &str) -> Answers<Result<(), CliError>> {
    let mut written = Answers::new();
    for batch in ids.chunks(BATCH) {
        let request = BatchDeleteEntryRequest { ids: batch.to_vec() };
        match client.entries().batch_delete_entry(with_reason(request, reason)).await {
            Ok(answer) => written.take(answer.into_inner().results, |result| {
                let status = result.status.unwrap_or_default();
                match status.code {
                    0 => Ok(()),
                    _ => Err(CliError::of_item(status.code, &status.message)),
                }
            }),
            Err(status) => return written.cut(status, batch.len()),
        }
    }
    written
}

fn outcome(status: Option<types::Status>, entry: Option<types::Entry>) -> Written {
    let status = status.unwrap_or_default();
    match (Code::from_i32(status.code), entry) {
        (Code::Ok, Some(entry)) => Ok(entry),
        (Code::Ok, None) => Err(missing("the entry")),
        (Code::AlreadyExists, Some(existing)) => Err(CliError::Similar { id: existing.id }),
        _ => Err(CliError::of_item(status.code, &status.message)),
    }
}

fn missing(what: &str) -> CliError {
    CliError::Answer {
        what: format!("{what} is missing"),
    }
}

/// What entries are held against before they are sent: asked of the server once.
pub(super) struct Surroundings<'a> {
    client: &'a Client,
    trust_domain: TrustDomain,
    parents: BTreeMap<SpiffeId, bool>,
}

impl<'a> Surroundings<'a> {
    /// Those of this server.
    pub(super) async fn of(client: &'a Client) -> Result<Self, CliError> {
        Ok(Self {
            client,
            trust_domain: client.trust_domain().await?,
            parents: BTreeMap::new(),
        })
    }

    /// Takes an id as one that entries may be below.
    pub(super) fn assume(&mut self, id: &SpiffeId) {
        self.parents.insert(id.clone(), true);
    }

    /// The server's trust domain.
    pub(super) const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What in the entry matches nothing: selectors that no attestor makes, a parent that nobody is.
    pub(super) async fn warnings(&mut self, draft: &EntryDraft) -> Result<Vec<String>, CliError> {
        let of_nodes = draft.parent_id.path() == "/spire/server";
        let selectors = draft.selectors.iter().cloned().collect();
        let found = selector_warnings(&selectors, of_nodes);
        let mut warnings: Vec<String> = found.iter().map(ToString::to_string).collect();
        if !of_nodes && !self.is_parent(&draft.parent_id).await? {
            warnings.push(format!(
                "the parent {} is neither a node nor an entry's SPIFFE ID: the entry matches nothing until it is",
                draft.parent_id
            ));
        }
        Ok(warnings)
    }

    async fn is_parent(&mut self, id: &SpiffeId) -> Result<bool, CliError> {
        if let Some(is_known) = self.parents.get(id) {
            return Ok(*is_known);
        }
        let is_known = if id.path().starts_with("/spire/agent/") {
            self.client.node(id.as_str()).await?.is_some()
        } else {
            self.client.holds_entry_for(id).await?
        };
        self.parents.insert(id.clone(), is_known);
        Ok(is_known)
    }
}

/// Tells what became of one entry, or would become of it, and how the command ends.
pub(super) fn told(
    context: &Context,
    action: &'static str,
    change: Change,
    entry: types::Entry,
    warnings: Vec<String>,
) -> Result<Exit, CliError> {
    warn(&warnings);
    let done = EntryChange {
        action,
        dry_run: change.dry_run,
        entry: EntryView::new(entry)?,
        warnings,
    };
    show(context.format, &done)?;
    Ok(change.exit())
}

/// The draft as a message.
pub(super) fn message(draft: &EntryDraft, id: String) -> types::Entry {
    let attributes = AdditionalAttributes {
        disable_x509_svid_prefetch: draft.disable_x509_svid_prefetch,
        jwt_svid_include_jti: draft.jwt_svid_include_jti,
    };
    let any = attributes.disable_x509_svid_prefetch || attributes.jwt_svid_include_jti;
    types::Entry {
        id,
        spiffe_id: Some(id_message(&draft.spiffe_id)),
        parent_id: Some(id_message(&draft.parent_id)),
        selectors: draft.selectors.iter().map(selector_message).collect(),
        x509_svid_ttl: draft.x509_svid_ttl,
        jwt_svid_ttl: draft.jwt_svid_ttl,
        federates_with: draft.federates_with.iter().map(ToString::to_string).collect(),
        admin: draft.admin,
        downstream: draft.downstream,
        expires_at: draft.expires_at,
        dns_names: draft.dns_names.clone(),
        store_svid: draft.store_svid,
        hint: draft.hint.clone(),
        additional_attributes: any.then_some(attributes),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_by_count_and_by_bytes() {
        let of = |sizes: &[usize]| -> Vec<usize> {
            let entry = |size: &usize| types::Entry {
                hint: "h".repeat(*size),
                ..Default::default()
            };
            let entries: Vec<_> = sizes.iter().map(entry).collect();
            batches(&entries).map(<[_]>::len).collect()
        };
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[1; BATCH + 1]), [BATCH, 1]);
        assert_eq!(of(&[BATCH_BYTES / 2, BATCH_BYTES / 3, BATCH_BYTES / 2]), [2, 1]);
        assert_eq!(of(&[2 * BATCH_BYTES, 1, 2 * BATCH_BYTES]), [1, 1, 1]);
    }
}
