//! `grpc.health.v1.Health`, for the server as a whole.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use hallmark_api::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus, health_server,
};
use hallmark_host::health::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::health::Health;

/// How often a watched server is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// The service.
#[derive(Debug, Clone)]
pub struct HealthService {
    health: Arc<Health>,
}

impl HealthService {
    /// The service of this health.
    #[must_use]
    pub const fn new(health: Arc<Health>) -> Self {
        Self { health }
    }
}

async fn check(health: &Health) -> HealthCheckResponse {
    let healthy = health.parts().await.iter().all(Part::works);
    let status = if healthy {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse { status: status.into() }
}

/// Only the whole server is told of.
fn require_whole(request: &HealthCheckRequest) -> Result<(), Status> {
    if request.service.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_argument("per-service health is not supported"))
}

#[async_trait]
impl health_server::Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        require_whole(request.get_ref())?;
        Ok(Response::new(check(&self.health).await))
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = [(String::new(), check(&self.health).await)].into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require_whole(request.get_ref())?;
        let (sender, changes) = mpsc::channel(1);
        let health = Arc::clone(&self.health);
        tokio::spawn(async move {
            let mut told = None;
            while !sender.is_closed() {
                let now = check(&health).await;
                if told != Some(now.status) {
                    told = Some(now.status);
                    if sender.send(Ok(now)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                    () = sender.closed() => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(changes))))
    }
}
