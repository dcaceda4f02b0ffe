//! `hallmark.admin.v1.Admin`: what Hallmark's operators ask beyond SPIRE's services.

mod evidence;
mod find;
mod node;
mod policy;
mod records;
mod status;

pub use status::{About, ServerStatus};

use std::sync::Arc;

use hallmark_api::admin::{
    ApplyPolicyFileRequest, CheckEntriesRequest, CheckEntriesResponse, FindIdsRequest, FindIdsResponse,
    GetEvidenceRequest, GetHsmStatusRequest, GetHsmStatusResponse, GetNodeRequest, GetNodeResponse,
    GetPolicyFileRequest, GetStatusRequest, GetStatusResponse, ListHsmKeysRequest, ListHsmKeysResponse,
    ListPolicyFilesRequest, ListPolicyFilesResponse, ListRecordsRequest, ListRecordsResponse, ListServedEntriesRequest,
    PolicyFile, PolicyFileChange, WithdrawPolicyFileRequest, admin_server::Admin,
};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{api::entry::EntryChanges, appraise::Appraiser, caller, journal::Journal};

/// The service.
#[derive(Debug, Clone)]
pub struct AdminService {
    status: Arc<ServerStatus>,
    journal: Arc<Journal>,
    appraiser: Arc<Appraiser>,
    entries: EntryChanges,
}

impl AdminService {
    /// The service.
    #[must_use]
    pub const fn new(
        status: Arc<ServerStatus>,
        journal: Arc<Journal>,
        appraiser: Arc<Appraiser>,
        entries: EntryChanges,
    ) -> Self {
        Self {
            status,
            journal,
            appraiser,
            entries,
        }
    }
}

#[async_trait]
impl Admin for AdminService {
    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.status.server().await))
    }

    async fn get_hsm_status(
        &self,
        _request: Request<GetHsmStatusRequest>,
    ) -> Result<Response<GetHsmStatusResponse>, Status> {
        Ok(Response::new(self.status.hsm().await))
    }

    async fn list_hsm_keys(
        &self,
        _request: Request<ListHsmKeysRequest>,
    ) -> Result<Response<ListHsmKeysResponse>, Status> {
        self.status.hsm_keys().await.map(Response::new)
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        node::get(&self.journal, &request.into_inner().id).map(Response::new)
    }

    async fn find_ids(&self, request: Request<FindIdsRequest>) -> Result<Response<FindIdsResponse>, Status> {
        find::ids(&self.journal, &request.into_inner()).map(Response::new)
    }

    type ListServedEntriesStream = find::Parts;

    async fn list_served_entries(
        &self,
        request: Request<ListServedEntriesRequest>,
    ) -> Result<Response<find::Parts>, Status> {
        find::served(&self.journal, &request.into_inner().node).map(Response::new)
    }

    async fn check_entries(
        &self,
        request: Request<Streaming<CheckEntriesRequest>>,
    ) -> Result<Response<CheckEntriesResponse>, Status> {
        let caller = caller::of(&request)?;
        caller::act(&request)?;
        self.entries
            .check(&caller, request.into_inner())
            .await
            .map(Response::new)
    }

    type GetEvidenceStream = evidence::Parts;

    async fn get_evidence(&self, request: Request<GetEvidenceRequest>) -> Result<Response<evidence::Parts>, Status> {
        evidence::get(Arc::clone(&self.journal), &self.appraiser, &request.into_inner().id)
            .await
            .map(Response::new)
    }

    async fn apply_policy_file(
        &self,
        request: Request<ApplyPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        policy::apply(&self.appraiser, request).await.map(Response::new)
    }

    async fn withdraw_policy_file(
        &self,
        request: Request<WithdrawPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        policy::withdraw(&self.appraiser, request).await.map(Response::new)
    }

    async fn get_policy_file(&self, request: Request<GetPolicyFileRequest>) -> Result<Response<PolicyFile>, Status> {
        policy::get(&self.journal, request.into_inner()).map(Response::new)
    }

    async fn list_policy_files(
        &self,
        _request: Request<ListPolicyFilesRequest>,
    ) -> Result<Response<ListPolicyFilesResponse>, Status> {
        Ok(Response::new(policy::list(&self.journal)))
    }

    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        records::list(&self.journal, request.into_inner())
            .await
            .map(Response::new)
    }
}
