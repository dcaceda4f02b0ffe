//! The way to the server.

use std::{error::Error as _, io, path::Path, path::PathBuf, time::Duration};

use hallmark_api::{
    admin::{
        InventoryItem, ListInventoryRequest, ListNodesRequest, Node, admin_client::AdminClient,
        lifecycle_client::LifecycleClient,
    },
    agent::{ListAgentsRequest, agent_client::AgentClient, list_agents_request},
    bundle::{GetBundleRequest, bundle_client::BundleClient},
    entry::{ListEntriesRequest, entry_client::EntryClient, list_entries_request},
    types,
};
use hallmark_policy::signed::SignedFile;
use hallmark_spiffe::TrustDomain;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::CliError;

/// How many items are asked for at once: far below the 4 MiB that one gRPC message may have.
const PAGE: i32 = 500;

/// A connection to the admin socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    pub(crate) async fn connect(socket: &Path, timeout: Duration) -> Result<Self, CliError> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The name only fills the :authority header; the connector decides where to go.
        let channel = Endpoint::from_static("http://localhost")
            .timeout(timeout)
            .connect_timeout(timeout)
            .connect_with_connector(connector)
            .await
            .map_err(|cause| unreachable(socket.to_owned(), &cause))?;
        Ok(Self { channel })
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        // A list of digests comes as one message.
        AdminClient::new(self.channel.clone()).max_decoding_message_size(SignedFile::MAX_BYTES)
    }

    pub(crate) fn lifecycle(&self) -> LifecycleClient<Channel> {
        LifecycleClient::new(self.channel.clone())
    }

    pub(crate) fn agents(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    pub(crate) fn entries(&self) -> EntryClient<Channel> {
        EntryClient::new(self.channel.clone())
    }

    pub(crate) fn bundles(&self) -> BundleClient<Channel> {
        BundleClient::new(self.channel.clone())
    }

    /// The server's trust domain.
    pub(crate) async fn trust_domain(&self) -> Result<TrustDomain, CliError> {
        // An empty mask leaves only the name, which always comes.
        let request = GetBundleRequest {
            output_mask: Some(types::BundleMask::default()),
        };
        let bundle = self.bundles().get_bundle(request).await?.into_inner();
        Ok(TrustDomain::parse(&bundle.trust_domain)?)
    }

    /// Every node that matches the filter, page by page.
    pub(crate) async fn list_agents(
        &self,
        filter: Option<list_agents_request::Filter>,
    ) -> Result<Vec<types::Agent>, CliError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListAgentsRequest {
                filter: filter.clone(),
                output_mask: None,
                page_size: PAGE,
                page_token,
            };
            let page = self.agents().list_agents(request).await?.into_inner();
            found.extend(page.agents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Every node of a state, or all (empty), those included that hold no identity; page by page.
    pub(crate) async fn list_nodes(&self, state: &str) -> Result<Vec<Node>, CliError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListNodesRequest {
                state: state.to_owned(),
                page_token,
                ..ListNodesRequest::default()
            };
            let page = self.lifecycle().list_nodes(request).await?.into_inner();
            found.extend(page.nodes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Where one node stands; `None` for one that nobody knows.
    pub(crate) async fn node(&self, id: &str) -> Result<Option<Node>, CliError> {
        let request = ListNodesRequest {
            id: id.to_owned(),
            ..ListNodesRequest::default()
        };
        Ok(self.lifecycle().list_nodes(request).await?.into_inner().nodes.pop())
    }

    /// The whole inventory, page by page.
    pub(crate) async fn list_inventory(&self) -> Result<Vec<InventoryItem>, CliError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListInventoryRequest {
                page_token,
                ..ListInventoryRequest::default()
            };
            let page = self.lifecycle().list_inventory(request).await?.into_inner();
            found.extend(page.items);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Every entry that matches the filter, page by page.
    pub(crate) async fn list_entries(
        &self,
        filter: Option<list_entries_request::Filter>,
    ) -> Result<Vec<types::Entry>, CliError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListEntriesRequest {
                filter: filter.clone(),
                output_mask: None,
                page_size: PAGE,
                page_token,
            };
            let page = self.entries().list_entries(request).await?.into_inner();
            found.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }
}

fn unreachable(socket: PathBuf, error: &tonic::transport::Error) -> CliError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if error.kind() == io::ErrorKind::PermissionDenied {
                return CliError::SocketForbidden { socket };
            }
            return CliError::Connect {
                socket,
                cause: error.to_string(),
            };
        }
        cause = error.source();
    }
    CliError::Connect {
        socket,
        cause: error.to_string(),
    }
}
