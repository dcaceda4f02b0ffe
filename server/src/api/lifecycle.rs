//! `hallmark.admin.v1.Lifecycle`: the life of nodes, and the inventory.

mod import;
mod items;
mod nodes;
mod place;

use std::sync::Arc;

use hallmark_api::admin::{
    ChangeNodeRequest, ChangeNodeResponse, ImportInventoryRequest, ImportInventoryResponse, ListInventoryRequest,
    ListInventoryResponse, ListNodesRequest, ListNodesResponse, RemoveInventoryRequest, RemoveInventoryResponse,
    lifecycle_server::Lifecycle,
};
use hallmark_reason::Report;
use hallmark_store::StoreError;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    appraise::Appraiser,
    caller,
    compute::Compute,
    journal::{Journal, store_failed},
    nodes::Nodes,
};

/// The service.
#[derive(Debug, Clone)]
pub struct LifecycleService {
    journal: Arc<Journal>,
    nodes: Nodes,
    appraiser: Arc<Appraiser>,
    compute: Compute,
}

impl LifecycleService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, nodes: Nodes, appraiser: Arc<Appraiser>, compute: Compute) -> Self {
        Self {
            journal,
            nodes,
            appraiser,
            compute,
        }
    }
}

#[async_trait]
impl Lifecycle for LifecycleService {
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        nodes::list(&self.journal, self.nodes.approval_rules(), &request.into_inner()).map(Response::new)
    }

    async fn change_node(&self, request: Request<ChangeNodeRequest>) -> Result<Response<ChangeNodeResponse>, Status> {
        let by = caller::of(&request)?;
        nodes::change(&self.nodes, &by, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn import_inventory(
        &self,
        request: Request<Streaming<ImportInventoryRequest>>,
    ) -> Result<Response<ImportInventoryResponse>, Status> {
        let by = caller::of(&request)?;
        self.import(&by, request.into_inner()).await.map(Response::new)
    }

    async fn list_inventory(
        &self,
        request: Request<ListInventoryRequest>,
    ) -> Result<Response<ListInventoryResponse>, Status> {
        items::list(&self.journal, &request.into_inner()).map(Response::new)
    }

    async fn remove_inventory(
        &self,
        request: Request<RemoveInventoryRequest>,
    ) -> Result<Response<RemoveInventoryResponse>, Status> {
        let by = caller::of(&request)?;
        items::remove(&self.journal, &by, request.into_inner())
            .await
            .map(Response::new)
    }
}

/// How many items go on a page: as many as were asked for, at most `most`.
fn page_size(asked: u32, most: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => most,
        Ok(size) => size.min(most),
    }
}

fn failed(error: &StoreError) -> Status {
    match error {
        StoreError::Missing { .. } => Status::not_found(Report(error).to_string()),
        other => store_failed(other),
    }
}
