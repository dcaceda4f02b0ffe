//! `hallmark.admin.v1.Admin`: what Hallmark's operators ask beyond SPIRE's services.

mod evidence;
mod find;
mod node;
mod policy;
mod records;

use std::sync::Arc;

use hallmark_api::admin::{
    self, ApplyPolicyFileRequest, CheckEntriesRequest, CheckEntriesResponse, FindIdsRequest, FindIdsResponse,
    GetEvidenceRequest, GetHsmStatusRequest, GetHsmStatusResponse, GetNodeRequest, GetNodeResponse,
    GetPolicyFileRequest, GetStatusRequest, GetStatusResponse, ListHsmKeysRequest, ListHsmKeysResponse,
    ListPolicyFilesRequest, ListPolicyFilesResponse, ListRecordsRequest, ListRecordsResponse, ListServedEntriesRequest,
    PolicyFile, PolicyFileChange, WithdrawPolicyFileRequest, admin_server::Admin,
};
use hallmark_host::health::Part;
use hallmark_hsm::{KeyInfo, State};
use hallmark_reason::Coded as _;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{api::entry, caller, health, server::Server};

/// The service.
#[derive(Debug)]
pub struct AdminService {
    server: Arc<Server>,
}

impl AdminService {
    /// The service of `server`.
    #[must_use]
    pub fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    fn key(&self, key: KeyInfo) -> admin::HsmKey {
        let signs = self.server.authority.load().key.id == key.id;
        let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.spki_der);
        admin::HsmKey {
            kind: key.kind.to_string(),
            id: key.id.to_string(),
            sensitive: key.sensitive,
            always_sensitive: key.always_sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            local: key.local,
            r#use: if signs {
                "x509-authority".to_owned()
            } else {
                String::new()
            },
            spki_sha256: hex::encode(spki),
            label: key.label,
        }
    }
}

/// A part as the API tells it.
fn message(part: Part) -> admin::Part {
    admin::Part {
        ok: part.works(),
        name: part.name,
        code: part.code,
        message: part.message,
    }
}

#[async_trait]
impl Admin for AdminService {
    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let server = &self.server;
        let parts = health::parts(server).await;
        let now = server.clock.unix();
        let journal = server.store.statistics();
        let (nodes, unseen, entries, behind) = {
            let state = server.state();
            (
                state.count_nodes(now),
                state.count_unseen(now),
                state.entries().len(),
                state.count_behind(),
            )
        };
        let authority = server.authority.load();
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: server.trust_domain.to_string(),
            started_at: server.started_at,
            address: server.address.clone(),
            agents: nodes.admitted,
            agents_banned: nodes.banned,
            agents_pending: nodes.pending,
            agents_suspended: nodes.suspended,
            agents_distrusted: nodes.untrusted,
            agents_active: nodes.active,
            agents_expired: nodes.expired,
            agents_retired: nodes.retired,
            agents_pre_registered: unseen,
            agents_behind: u64::try_from(behind).unwrap_or(u64::MAX),
            journal_revision: journal.revision,
            journal_events: journal.last_event,
            entries: u64::try_from(entries).unwrap_or(u64::MAX),
            verdicts_accepted: server.counters.accepted.value(),
            verdicts_refused: server.counters.refused.value(),
            svids_issued: server.counters.issued.value(),
            authority_subject_key_id: hex::encode(authority.x509.subject_key_id()),
            authority_expires_at: authority.x509.not_after(),
            parts: parts.into_iter().map(message).collect(),
            bundle_sequence: authority.bundle.sequence,
        }))
    }

    async fn get_hsm_status(
        &self,
        _request: Request<GetHsmStatusRequest>,
    ) -> Result<Response<GetHsmStatusResponse>, Status> {
        let status = self.server.keys.status();
        let failure = health::hsm_failure(&self.server, &status).await;
        let open = status.state == State::Ready;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(GetHsmStatusResponse {
            module: status.module,
            token_label: status.token.label,
            manufacturer: status.token.manufacturer,
            model: status.token.model,
            serial: status.token.serial,
            firmware: status.token.firmware,
            ready: failure.is_none(),
            code: failure
                .as_ref()
                .map_or_else(String::new, |failure| failure.0.to_string()),
            message: failure.map_or_else(String::new, |failure| failure.1),
            // Sessions are opened with the pool and closed with it.
            sessions_open: if open { count(status.sessions) } else { 0 },
            sessions_max: count(status.sessions),
            signatures: status.signatures,
            failures: status.failures,
            reopened: status.reopened,
        }))
    }

    async fn list_hsm_keys(
        &self,
        _request: Request<ListHsmKeysRequest>,
    ) -> Result<Response<ListHsmKeysResponse>, Status> {
        let keys = self.server.keys.list().await;
        let keys = keys.map_err(|error| Status::unavailable(format!("{}: {error}", error.code())))?;
        let keys = keys.into_iter().filter(|key| key.label.starts_with("hallmark-"));
        Ok(Response::new(ListHsmKeysResponse {
            keys: keys.map(|key| self.key(key)).collect(),
        }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        node::get(&self.server, &request.into_inner().id).map(Response::new)
    }

    async fn find_ids(&self, request: Request<FindIdsRequest>) -> Result<Response<FindIdsResponse>, Status> {
        find::ids(&self.server, &request.into_inner()).map(Response::new)
    }

    type ListServedEntriesStream = find::Parts;

    async fn list_served_entries(
        &self,
        request: Request<ListServedEntriesRequest>,
    ) -> Result<Response<find::Parts>, Status> {
        find::served(&self.server, &request.into_inner().node).map(Response::new)
    }

    async fn check_entries(
        &self,
        request: Request<Streaming<CheckEntriesRequest>>,
    ) -> Result<Response<CheckEntriesResponse>, Status> {
        let caller = caller::of(&request)?;
        caller::act(&request)?;
        entry::check(&self.server, &caller, request.into_inner())
            .await
            .map(Response::new)
    }

    type GetEvidenceStream = evidence::Parts;

    async fn get_evidence(&self, request: Request<GetEvidenceRequest>) -> Result<Response<evidence::Parts>, Status> {
        evidence::get(Arc::clone(&self.server), &request.into_inner().id)
            .await
            .map(Response::new)
    }

    async fn apply_policy_file(
        &self,
        request: Request<ApplyPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        policy::apply(&self.server, request).await.map(Response::new)
    }

    async fn withdraw_policy_file(
        &self,
        request: Request<WithdrawPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        policy::withdraw(&self.server, request).await.map(Response::new)
    }

    async fn get_policy_file(&self, request: Request<GetPolicyFileRequest>) -> Result<Response<PolicyFile>, Status> {
        policy::get(&self.server, request.into_inner()).map(Response::new)
    }

    async fn list_policy_files(
        &self,
        _request: Request<ListPolicyFilesRequest>,
    ) -> Result<Response<ListPolicyFilesResponse>, Status> {
        Ok(Response::new(policy::list(&self.server)))
    }

    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        records::list(&self.server, request.into_inner())
            .await
            .map(Response::new)
    }
}
