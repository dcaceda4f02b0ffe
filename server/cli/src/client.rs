//! The way to the server.

use std::{error::Error as _, io, path::Path, path::PathBuf, time::Duration};

use hallmark_api::{
    admin::{
        FindIdsRequest, ImageAssignment, InventoryItem, ListImageAssignmentsRequest, ListInventoryRequest,
        ListNodesRequest, ListServedEntriesRequest, Node, admin_client::AdminClient, lifecycle_client::LifecycleClient,
        provision_client::ProvisionClient,
    },
    agent::{ListAgentsRequest, agent_client::AgentClient, list_agents_request},
    bundle::{GetBundleRequest, bundle_client::BundleClient},
    entry::{ListEntriesRequest, entry_client::EntryClient, list_entries_request},
    localauthority::local_authority_client::LocalAuthorityClient,
    svid::svid_client::SvidClient,
    types,
};
use hallmark_policy::signed::SignedFile;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Uri},
};

use crate::error::CliError;

/// How many items are asked for at once; the server sends fewer where they are large.
const PAGE: i32 = 500;
/// The longest report of an import: every machine of the largest file in several lists.
const IMPORT: usize = 64 * 1024 * 1024;

/// A connection to the admin socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    /// Another connection, on which no answer is late: whoever uses it watches the server meanwhile.
    patient: Channel,
    timeout: Duration,
}

impl Client {
    pub(crate) async fn connect(socket: &Path, timeout: Duration) -> Result<Self, CliError> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The name only fills the :authority header; the connector decides where to go.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(timeout);
        let patient = endpoint.connect_with_connector_lazy(connector.clone());
        let channel = endpoint
            .timeout(timeout)
            .connect_with_connector(connector)
            .await
            .map_err(|cause| unreachable(socket.to_owned(), &cause))?;
        Ok(Self {
            channel,
            patient,
            timeout,
        })
    }

    /// How long an answer may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// For calls whose answer may take as long as the server says that it is at work.
    pub(crate) fn patient_admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.patient.clone()).max_decoding_message_size(SignedFile::MAX_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        // A list of digests comes as one message.
        AdminClient::new(self.channel.clone()).max_decoding_message_size(SignedFile::MAX_BYTES)
    }

    pub(crate) fn lifecycle(&self) -> LifecycleClient<Channel> {
        // What an import says of the machines of a file comes as one message.
        LifecycleClient::new(self.channel.clone()).max_decoding_message_size(IMPORT)
    }

    pub(crate) fn provision(&self) -> ProvisionClient<Channel> {
        ProvisionClient::new(self.channel.clone())
    }

    pub(crate) fn agents(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    pub(crate) fn entries(&self) -> EntryClient<Channel> {
        EntryClient::new(self.channel.clone())
    }

    pub(crate) fn svids(&self) -> SvidClient<Channel> {
        SvidClient::new(self.channel.clone())
    }

    pub(crate) fn local_authority(&self) -> LocalAuthorityClient<Channel> {
        LocalAuthorityClient::new(self.channel.clone())
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

    /// What is assigned to one machine, or to all (empty), page by page.
    pub(crate) async fn list_image_assignments(&self, machine: &str) -> Result<Vec<ImageAssignment>, CliError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListImageAssignmentsRequest {
                page_token,
                machine: machine.to_owned(),
                ..ListImageAssignmentsRequest::default()
            };
            let page = self.provision().list_image_assignments(request).await?.into_inner();
            found.extend(page.assignments);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Whole ids of a kind (`node`, `entry`, `inventory`, `machine`) that start with `prefix`: some, where there are many.
    pub(crate) async fn find_ids(&self, kind: &str, prefix: &str) -> Result<Vec<String>, CliError> {
        let request = FindIdsRequest {
            kind: kind.to_owned(),
            prefix: prefix.to_owned(),
        };
        Ok(self.admin().find_ids(request).await?.into_inner().ids)
    }

    /// The entries that a node serves now.
    pub(crate) async fn served_entries(&self, node: &SpiffeId) -> Result<Vec<types::Entry>, CliError> {
        let request = ListServedEntriesRequest { node: node.to_string() };
        let mut parts = self.admin().list_served_entries(request).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(part) = parts.message().await? {
            entries.extend(part.entries);
        }
        Ok(entries)
    }

    /// Whether some entry gives this SPIFFE ID.
    pub(crate) async fn holds_entry_for(&self, id: &SpiffeId) -> Result<bool, CliError> {
        let request = ListEntriesRequest {
            filter: Some(list_entries_request::Filter {
                by_spiffe_id: Some(crate::lookup::id_message(id)),
                ..Default::default()
            }),
            output_mask: Some(types::EntryMask::default()),
            page_size: 1,
            page_token: String::new(),
        };
        Ok(!self
            .entries()
            .list_entries(request)
            .await?
            .into_inner()
            .entries
            .is_empty())
    }

    /// Every entry that matches the filter.
    pub(crate) async fn list_entries(
        &self,
        filter: Option<list_entries_request::Filter>,
    ) -> Result<Vec<types::Entry>, CliError> {
        let mut found = Vec::new();
        let mut pages = self.entry_pages(filter);
        while let Some(page) = pages.next().await? {
            found.extend(page);
        }
        Ok(found)
    }

    /// The entries that match the filter, page by page.
    pub(crate) fn entry_pages(&self, filter: Option<list_entries_request::Filter>) -> EntryPages {
        EntryPages {
            client: self.entries(),
            next: Some(ListEntriesRequest {
                filter,
                output_mask: None,
                page_size: PAGE,
                page_token: String::new(),
            }),
        }
    }
}

/// Entries that are asked for as they are needed.
pub(crate) struct EntryPages {
    client: EntryClient<Channel>,
    next: Option<ListEntriesRequest>,
}

impl EntryPages {
    /// The next page; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<types::Entry>>, CliError> {
        let Some(request) = self.next.take() else {
            return Ok(None);
        };
        let page = self.client.list_entries(request.clone()).await?.into_inner();
        let page_token = page.next_page_token;
        self.next = (!page_token.is_empty()).then_some(ListEntriesRequest { page_token, ..request });
        Ok(Some(page.entries))
    }
}

/// A request with why it is made, for the record; nothing is said where there is no reason.
pub(crate) fn with_reason<T>(message: T, reason: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !reason.is_empty() {
        let value = MetadataValue::from_bytes(reason.as_bytes());
        request.metadata_mut().insert_bin(hallmark_api::REASON, value);
    }
    request
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
