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

use crate::{caller, journal::store_failed, server::Server};

/// The service.
#[derive(Debug)]
pub struct LifecycleService {
    server: Arc<Server>,
}

impl LifecycleService {
    /// The service of `server`.
    #[must_use]
    pub const fn new(server: Arc<Server>) -> Self {
        Self { server }
    }
}

#[async_trait]
impl Lifecycle for LifecycleService {
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        nodes::list(&self.server, &request.into_inner()).map(Response::new)
    }

    async fn change_node(&self, request: Request<ChangeNodeRequest>) -> Result<Response<ChangeNodeResponse>, Status> {
        let by = caller::of(&request)?;
        nodes::change(&self.server, &by, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn import_inventory(
        &self,
        request: Request<Streaming<ImportInventoryRequest>>,
    ) -> Result<Response<ImportInventoryResponse>, Status> {
        let by = caller::of(&request)?;
        import::import(&self.server, &by, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_inventory(
        &self,
        request: Request<ListInventoryRequest>,
    ) -> Result<Response<ListInventoryResponse>, Status> {
        items::list(&self.server, &request.into_inner()).map(Response::new)
    }

    async fn remove_inventory(
        &self,
        request: Request<RemoveInventoryRequest>,
    ) -> Result<Response<RemoveInventoryResponse>, Status> {
        let by = caller::of(&request)?;
        items::remove(&self.server, &by, request.into_inner())
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
