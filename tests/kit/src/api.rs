//! Clients of the admin socket and of the Workload API, as the tests use them.

use anyhow::Result;
use hallmark_api::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request};
use tower::service_fn;

/// SPIRE's services and the admin service on one unix socket.
#[derive(Debug, Clone)]
pub struct AdminClient {
    /// Agent service.
    pub agent: hallmark_api::agent::agent_client::AgentClient<Channel>,
    /// Entry service.
    pub entry: hallmark_api::entry::entry_client::EntryClient<Channel>,
    /// SVID service.
    pub svid: hallmark_api::svid::svid_client::SvidClient<Channel>,
    /// Bundle service.
    pub bundle: hallmark_api::bundle::bundle_client::BundleClient<Channel>,
    /// gRPC health.
    pub health: hallmark_api::health::health_client::HealthClient<Channel>,
    /// The life of nodes, and the inventory.
    pub lifecycle: hallmark_api::admin::lifecycle_client::LifecycleClient<Channel>,
    /// Hallmark's own admin service.
    pub admin: hallmark_api::admin::admin_client::AdminClient<Channel>,
}

impl AdminClient {
    /// Connects to the server's admin socket.
    ///
    /// # Errors
    /// When nobody listens on it.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let channel = unix_channel(socket).await?;
        Ok(Self {
            agent: hallmark_api::agent::agent_client::AgentClient::new(channel.clone()),
            entry: hallmark_api::entry::entry_client::EntryClient::new(channel.clone()),
            svid: hallmark_api::svid::svid_client::SvidClient::new(channel.clone()),
            bundle: hallmark_api::bundle::bundle_client::BundleClient::new(channel.clone()),
            health: hallmark_api::health::health_client::HealthClient::new(channel.clone()),
            lifecycle: hallmark_api::admin::lifecycle_client::LifecycleClient::new(channel.clone()),
            admin: hallmark_api::admin::admin_client::AdminClient::new(channel),
        })
    }
}

/// The Workload API client.
pub type WorkloadClient = SpiffeWorkloadApiClient<Channel>;

/// A Workload API request with the security header that the standard asks for (WLE-05).
#[derive(Debug)]
pub struct WorkloadRequest;

impl WorkloadRequest {
    /// Connects to an agent's socket.
    ///
    /// # Errors
    /// When nobody listens on it.
    pub async fn connect(socket: &Path) -> Result<WorkloadClient> {
        Ok(SpiffeWorkloadApiClient::new(unix_channel(socket).await?))
    }

    /// Wraps a message with the header.
    #[must_use]
    pub fn with_header<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("workload.spiffe.io", MetadataValue::from_static("true"));
        request
    }

    /// Whether the agent behind the socket holds its identity and is in step with the server: it then
    /// answers anything but Unavailable.
    pub async fn is_ready(socket: &Path) -> bool {
        let Ok(mut client) = Self::connect(socket).await else {
            return false;
        };
        match client
            .fetch_x509_bundles(Self::with_header(hallmark_api::workload::X509BundlesRequest {}))
            .await
        {
            Ok(response) => response
                .into_inner()
                .message()
                .await
                .map_or_else(|s| s.code() == Code::PermissionDenied, |m| m.is_some()),
            Err(status) => status.code() == Code::PermissionDenied,
        }
    }
}

async fn unix_channel(socket: &Path) -> Result<Channel> {
    let path = PathBuf::from(socket);
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        }))
        .await?;
    Ok(channel)
}
