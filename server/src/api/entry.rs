//! Registration entries.

mod check;
mod prune;
mod sync;
mod write;

pub use prune::{keep_pruned, prune};
pub use write::EntryChanges;

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use hallmark_api::{
    entry::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
        BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
        GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
        ListEntriesResponse, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse, entry_server::Entry,
        list_entries_request,
    },
    types,
};
use hallmark_spiffe::SpiffeId;
use hallmark_state::PageToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    caller,
    convert::{entry_filter, entry_message, next_page},
    journal::Journal,
};

/// `spire.api.server.entry.v1.Entry`.
#[derive(Debug, Clone)]
pub struct EntryService {
    journal: Arc<Journal>,
    changes: EntryChanges,
}

impl EntryService {
    /// The service of the entries of `journal`, which change by `changes`.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, changes: EntryChanges) -> Self {
        Self { journal, changes }
    }

    fn find(&self, request: &GetEntryRequest) -> Result<types::Entry, Status> {
        if request.id.is_empty() {
            return Err(Status::invalid_argument("missing ID"));
        }
        let state = self.journal.state();
        let entry = state
            .entries()
            .entry(request.id.as_str())
            .ok_or_else(|| Status::not_found("entry not found"))?;
        Ok(entry_message(entry, request.output_mask.as_ref()))
    }

    fn list(&self, request: ListEntriesRequest) -> Result<ListEntriesResponse, Status> {
        let filter = entry_filter(request.filter)?;
        let size = usize::try_from(request.page_size).map_err(|_| Status::invalid_argument("negative page size"))?;
        let from = match request.page_token.as_str() {
            "" => None,
            token => Some(PageToken::decode(token).ok_or_else(|| Status::invalid_argument("malformed page token"))?),
        };
        // Copied out of the state first: converting a long list must not hold up writers.
        let (entries, next) = {
            let state = self.journal.state();
            let page = state.entries().list(&filter, size, from.as_ref());
            (page.entries.into_iter().cloned().collect::<Vec<_>>(), page.next)
        };
        let mask = request.output_mask.as_ref();
        let mut messages = entries.iter().map(|entry| entry_message(entry, mask)).peekable();
        let page = next_page(&mut messages, usize::MAX);
        let is_cut = messages.peek().is_some();
        let last = page.len().checked_sub(1).and_then(|last| entries.get(last));
        let next = if is_cut {
            last.map(|last| PageToken::after(last))
        } else {
            next
        };
        Ok(ListEntriesResponse {
            entries: page,
            next_page_token: next.map_or_else(String::new, |token| token.encode()),
        })
    }
}

/// What the agent may serve, oldest first.
pub(super) fn authorised(journal: &Journal, agent: &SpiffeId) -> Vec<Arc<hallmark_state::Entry>> {
    let (state, now) = (journal.state(), journal.clock().unix());
    // An agent deleted, banned, suspended or no longer trusted since its request was let through may serve nothing.
    let Some(node) = state.node(agent).filter(|node| node.is_active()) else {
        return Vec::new();
    };
    let authorised = state.entries().authorised(agent, &node.selectors, now);
    authorised.into_iter().cloned().collect()
}

type SyncStream = Pin<Box<dyn Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Entry for EntryService {
    type SyncAuthorizedEntriesStream = SyncStream;

    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        // The two filters are one type by another name.
        let filter = request.into_inner().filter.map(|filter| list_entries_request::Filter {
            by_spiffe_id: filter.by_spiffe_id,
            by_parent_id: filter.by_parent_id,
            by_selectors: filter.by_selectors,
            by_federates_with: filter.by_federates_with,
            by_hint: filter.by_hint,
            by_downstream: filter.by_downstream,
        });
        let count = self.journal.state().entries().count(&entry_filter(filter)?);
        Ok(Response::new(CountEntriesResponse {
            count: i32::try_from(count).unwrap_or(i32::MAX),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        self.list(request.into_inner()).map(Response::new)
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        self.find(request.get_ref()).map(Response::new)
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let (caller, act) = (caller::of(&request)?, caller::act(&request)?);
        self.changes
            .create(&caller, &act, request.get_ref())
            .await
            .map(Response::new)
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        let (caller, act) = (caller::of(&request)?, caller::act(&request)?);
        self.changes
            .update(&caller, &act, request.get_ref())
            .await
            .map(Response::new)
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let (caller, act) = (caller::of(&request)?, caller::act(&request)?);
        self.changes
            .delete(&caller, &act, request.into_inner().ids)
            .await
            .map(Response::new)
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let entries = authorised(&self.journal, &caller::agent_of(&request)?);
        let mask = request.get_ref().output_mask.as_ref();
        let entries = entries.iter().map(|entry| entry_message(entry, mask)).collect();
        Ok(Response::new(GetAuthorizedEntriesResponse { entries }))
    }

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<SyncStream>, Status> {
        let agent = caller::agent_of(&request)?;
        let (journal, asking) = (Arc::clone(&self.journal), (Arc::clone(&self.journal), agent.clone()));
        Ok(Response::new(sync::serve(
            move || authorised(&journal, &agent),
            move || caller::standing(&asking.0, &asking.1).map(drop),
            request.into_inner(),
        )))
    }
}
