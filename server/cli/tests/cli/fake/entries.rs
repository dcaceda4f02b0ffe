//! `spire.api.server.entry.v1`.

use std::collections::BTreeSet;

use hallmark_api::{
    admin::{CheckEntriesRequest, CheckEntriesResponse, RefusedEntry},
    entry::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest, BatchDeleteEntryResponse,
        BatchUpdateEntryRequest, BatchUpdateEntryResponse, CountEntriesRequest, CountEntriesResponse,
        GetAuthorizedEntriesRequest, GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest,
        ListEntriesResponse, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse, batch_create_entry_response,
        batch_delete_entry_response, batch_update_entry_response, entry_server::Entry as EntryService,
        list_entries_request,
    },
    types,
};
use hallmark_reason::Report;
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{Entry, EntryDraft, EntryId, Filter, Match, PageToken, Registry};
use tokio_stream::Pending;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Fake, NOW, selector, td, unused};

fn read_id(id: Option<types::Spiffeid>) -> SpiffeId {
    let id = id.unwrap();
    SpiffeId::new(&TrustDomain::parse(&id.trust_domain).unwrap(), &id.path).unwrap()
}

fn read_selector(selector: types::Selector) -> Selector {
    Selector::new(&selector.r#type, &selector.value).unwrap()
}

fn read_trust_domains(names: &[String]) -> Vec<TrustDomain> {
    names.iter().map(|name| TrustDomain::parse(name).unwrap()).collect()
}

fn read_filter(filter: list_entries_request::Filter) -> Filter {
    let how = |how| [Match::Exact, Match::Subset, Match::Superset, Match::Any][usize::try_from(how).unwrap()];
    Filter {
        spiffe_id: filter.by_spiffe_id.map(|id| read_id(Some(id))),
        parent_id: filter.by_parent_id.map(|id| read_id(Some(id))),
        selectors: filter
            .by_selectors
            .map(|by| (how(by.r#match), by.selectors.into_iter().map(read_selector).collect())),
        hint: filter.by_hint,
        downstream: filter.by_downstream,
        federates_with: filter.by_federates_with.map(|by| {
            let names: BTreeSet<_> = by
                .trust_domains
                .iter()
                .map(|name| TrustDomain::parse(name).unwrap())
                .collect();
            (how(by.r#match), names)
        }),
    }
}

pub(super) fn entry_message(entry: &Entry) -> types::Entry {
    let id = |id: &SpiffeId| {
        Some(types::Spiffeid {
            trust_domain: id.trust_domain().to_string(),
            path: id.path().into(),
        })
    };
    types::Entry {
        id: entry.id.to_string(),
        spiffe_id: id(&entry.spiffe_id),
        parent_id: id(&entry.parent_id),
        selectors: entry
            .selectors
            .iter()
            .map(|one| selector(one.kind(), one.value()))
            .collect(),
        x509_svid_ttl: i32::try_from(entry.x509_svid_ttl.as_secs()).unwrap(),
        admin: entry.admin,
        expires_at: entry.expires_at.unwrap_or(0),
        dns_names: entry.dns_names.clone(),
        hint: entry.hint.clone(),
        created_at: entry.created_at,
        revision_number: entry.revision,
        ..Default::default()
    }
}

fn status(code: Code, message: impl Into<String>) -> Option<types::Status> {
    Some(types::Status {
        code: code.into(),
        message: message.into(),
    })
}

impl Fake {
    fn note_reason<T>(&self, request: &Request<T>) {
        if let Some(reason) = request.metadata().get_bin(hallmark_api::REASON) {
            let reason = String::from_utf8(reason.to_bytes().unwrap().to_vec()).unwrap();
            self.state().reasons.push(reason);
        }
    }

    /// The answers to changes that are made to a copy.
    pub(super) fn rehearse(&self, parts: Vec<CheckEntriesRequest>) -> CheckEntriesResponse {
        let mut copy = Registry::new(&td());
        let all = |registry: &Registry| {
            let page = registry.list(&Filter::default(), 1000, None);
            page.entries
                .into_iter()
                .map(|entry| Entry::clone(entry))
                .collect::<Vec<_>>()
        };
        for entry in all(&self.state().registry) {
            copy.insert(std::sync::Arc::new(entry));
        }
        let mut answers = Vec::new();
        for part in parts {
            for id in part.deletes {
                copy.remove(&EntryId::parse(&id).unwrap()).unwrap();
                answers.push((status(Code::Ok, "OK"), None));
            }
            for entry in part.updates {
                let result = update(&mut copy, entry, part.update_mask);
                answers.push((result.status, result.entry));
            }
            for entry in part.creates {
                let result = create(&mut copy, entry);
                answers.push((result.status, result.entry));
            }
        }
        let refused = (0..).zip(answers).filter_map(|(place, (status, entry))| {
            let is_refused = status.as_ref().unwrap().code != 0;
            is_refused.then(|| RefusedEntry {
                place,
                status,
                similar_id: entry.map(|entry| entry.id).unwrap_or_default(),
            })
        });
        CheckEntriesResponse {
            refused: refused.collect(),
        }
    }
}

/// The fields that these tests change.
fn update(
    registry: &mut Registry,
    message: types::Entry,
    mask: Option<types::EntryMask>,
) -> batch_update_entry_response::Result {
    let before = registry.entry(message.id.as_str()).unwrap().clone();
    let mut draft = EntryDraft::from(&*before);
    let names = |pick: fn(&types::EntryMask) -> bool| mask.as_ref().is_none_or(pick);
    if names(|mask| mask.x509_svid_ttl) {
        draft.x509_svid_ttl = message.x509_svid_ttl;
    }
    if names(|mask| mask.hint) {
        draft.hint = message.hint;
    }
    if names(|mask| mask.admin) {
        draft.admin = message.admin;
    }
    if names(|mask| mask.selectors) {
        draft.selectors = message.selectors.into_iter().map(read_selector).collect();
    }
    if names(|mask| mask.federates_with) {
        draft.federates_with = read_trust_domains(&message.federates_with);
    }
    let entry = match draft.revise(&before, &td(), |_| false) {
        Ok(entry) => entry,
        Err(error) => {
            let status = status(Code::InvalidArgument, Report(&error).to_string());
            return batch_update_entry_response::Result { status, entry: None };
        }
    };
    let message = entry_message(&entry);
    registry.insert(std::sync::Arc::new(entry));
    batch_update_entry_response::Result {
        status: status(Code::Ok, "OK"),
        entry: Some(message),
    }
}

fn create(registry: &mut Registry, message: types::Entry) -> batch_create_entry_response::Result {
    let id = if message.id.is_empty() {
        format!("e-{}", registry.len())
    } else {
        message.id
    };
    let draft = EntryDraft {
        x509_svid_ttl: message.x509_svid_ttl,
        expires_at: message.expires_at,
        admin: message.admin,
        dns_names: message.dns_names,
        hint: message.hint,
        federates_with: read_trust_domains(&message.federates_with),
        ..EntryDraft::new(
            read_id(message.spiffe_id),
            read_id(message.parent_id),
            message.selectors.into_iter().map(read_selector).collect(),
        )
    };
    let entry = match draft.validate(&td(), |_| false, EntryId::parse(&id).unwrap(), NOW) {
        Ok(entry) => entry,
        Err(error) => {
            let status = status(Code::InvalidArgument, Report(&error).to_string());
            return batch_create_entry_response::Result { status, entry: None };
        }
    };
    if let Some(existing) = registry.similar(&entry) {
        let status = status(Code::AlreadyExists, "similar entry already exists");
        return batch_create_entry_response::Result {
            status,
            entry: Some(entry_message(existing)),
        };
    }
    let message = entry_message(&entry);
    registry.insert(std::sync::Arc::new(entry));
    batch_create_entry_response::Result {
        status: status(Code::Ok, "OK"),
        entry: Some(message),
    }
}

impl Fake {
    fn take_batch(&self) -> Result<(), Status> {
        let batches = &mut self.state().batches;
        *batches = batches
            .checked_sub(1)
            .ok_or_else(|| Status::unknown("the connection broke"))?;
        Ok(())
    }
}

#[tonic::async_trait]
impl EntryService for Fake {
    type SyncAuthorizedEntriesStream = Pending<Result<SyncAuthorizedEntriesResponse, Status>>;

    /// Two a page, whatever is asked for.
    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let request = request.into_inner();
        let filter = read_filter(request.filter.unwrap_or_default());
        let state = self.state();
        let page = state
            .registry
            .list(&filter, 2, PageToken::decode(&request.page_token).as_ref());
        Ok(Response::new(ListEntriesResponse {
            entries: page.entries.into_iter().map(|entry| entry_message(entry)).collect(),
            next_page_token: page.next.map(|next| next.encode()).unwrap_or_default(),
        }))
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<types::Entry>, Status> {
        let state = self.state();
        let entry = state.registry.entry(request.into_inner().id.as_str());
        entry
            .map(|entry| Response::new(entry_message(entry)))
            .ok_or_else(|| Status::not_found("entry not found"))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        self.note_reason(&request);
        self.take_batch()?;
        let results = request
            .into_inner()
            .entries
            .into_iter()
            .map(|entry| create(&mut self.state().registry, entry))
            .collect();
        Ok(Response::new(BatchCreateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        self.note_reason(&request);
        self.take_batch()?;
        let registry = &mut self.state().registry;
        let results = request.into_inner().ids.into_iter().map(|id| {
            let gone = registry.remove(&EntryId::parse(&id).unwrap()).is_some();
            let status = if gone {
                status(Code::Ok, "OK")
            } else {
                status(Code::NotFound, "entry not found")
            };
            batch_delete_entry_response::Result { status, id }
        });
        Ok(Response::new(BatchDeleteEntryResponse {
            results: results.collect(),
        }))
    }

    async fn count_entries(&self, _: Request<CountEntriesRequest>) -> Result<Response<CountEntriesResponse>, Status> {
        unused()
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        self.note_reason(&request);
        self.take_batch()?;
        let request = request.into_inner();
        let mask = request.input_mask;
        let results = request
            .entries
            .into_iter()
            .map(|entry| update(&mut self.state().registry, entry, mask))
            .collect();
        Ok(Response::new(BatchUpdateEntryResponse { results }))
    }

    async fn get_authorized_entries(
        &self,
        _: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        unused()
    }

    async fn sync_authorized_entries(
        &self,
        _: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<Self::SyncAuthorizedEntriesStream>, Status> {
        unused()
    }
}
