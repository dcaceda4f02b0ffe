//! The gRPC services. Each is thin: read the message (`convert`), do the step, write the answer.
//!
//! Who calls has been checked before a handler runs; [`crate::caller::of`] tells who it is. A handler that
//! changes something commits to the store first and lets memory follow.

pub mod admin;
pub mod agent;
pub mod agent_admin;
pub mod bundle;
pub mod entry;
pub mod health;
pub mod lifecycle;
pub mod local_authority;
pub mod provision;
pub mod provisioning;
pub mod svid;

use hallmark_api::{
    admin::{admin_server::AdminServer, lifecycle_server::LifecycleServer, provision_server::ProvisionServer},
    agent::agent_server::AgentServer,
    bundle::bundle_server::BundleServer,
    entry::entry_server::EntryServer,
    health::health_server::HealthServer,
    localauthority::local_authority_server::LocalAuthorityServer,
    provision::provisioning_server::ProvisioningServer,
    svid::svid_server::SvidServer,
};
use hallmark_policy::signed::SignedFile;
use tonic::service::Routes;

/// The largest message that is read: gRPC's own default, which no SPIRE client raises.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The largest message to services that have methods for anyone: a claim or a proof fits several times over, and
/// nobody makes the server hold much more than it will read.
const MAX_ANYONES_MESSAGE_BYTES: usize = 256 * 1024;

/// The largest message about an installation: a few names and texts.
const MAX_PROVISION_MESSAGE_BYTES: usize = 64 * 1024;

/// The largest message of the admin service: a list of digests. Only who may administer the server can send one.
const MAX_ADMIN_MESSAGE_BYTES: usize = SignedFile::MAX_BYTES + 64 * 1024;

/// Every service.
#[derive(Debug, Clone)]
pub struct Services {
    /// `spire.api.server.agent.v1.Agent`.
    pub agents: agent::AgentService,
    /// `spire.api.server.bundle.v1.Bundle`.
    pub bundles: bundle::BundleService,
    /// `spire.api.server.entry.v1.Entry`.
    pub entries: entry::EntryService,
    /// `spire.api.server.svid.v1.SVID`.
    pub svids: svid::SvidService,
    /// `spire.api.server.localauthority.v1.LocalAuthority`.
    pub local_authority: local_authority::LocalAuthorityService,
    /// `hallmark.admin.v1.Admin`.
    pub admin: admin::AdminService,
    /// `hallmark.admin.v1.Lifecycle`.
    pub lifecycle: lifecycle::LifecycleService,
    /// `hallmark.admin.v1.Provision`.
    pub provision: provision::ProvisionService,
    /// `hallmark.provision.v1.Provisioning`.
    pub provisioning: provisioning::ProvisioningService,
    /// `grpc.health.v1.Health`.
    pub health: health::HealthService,
}

impl Services {
    /// What is served over TLS.
    #[must_use]
    pub fn public(&self) -> Routes {
        self.routes(MAX_ANYONES_MESSAGE_BYTES)
    }

    /// What is served on the admin socket: the same, and what is for this machine alone.
    #[must_use]
    pub fn local(&self) -> Routes {
        let health = HealthServer::new(self.health.clone());
        let admin = AdminServer::new(self.admin.clone());
        let lifecycle = LifecycleServer::new(self.lifecycle.clone());
        let provision = ProvisionServer::new(self.provision.clone());
        self.routes(MAX_MESSAGE_BYTES)
            .add_service(lifecycle.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(provision.max_decoding_message_size(MAX_PROVISION_MESSAGE_BYTES))
            .add_service(health.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(admin.max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES))
    }

    fn routes(&self, anyones: usize) -> Routes {
        let agents = AgentServer::new(self.agents.clone());
        let bundles = BundleServer::new(self.bundles.clone());
        let entries = EntryServer::new(self.entries.clone());
        let svids = SvidServer::new(self.svids.clone());
        let local_authority = LocalAuthorityServer::new(self.local_authority.clone());
        let provisioning = ProvisioningServer::new(self.provisioning.clone());
        Routes::new(agents.max_decoding_message_size(anyones))
            .add_service(bundles.max_decoding_message_size(anyones))
            .add_service(entries.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(svids.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(local_authority.max_decoding_message_size(MAX_MESSAGE_BYTES))
            .add_service(provisioning.max_decoding_message_size(MAX_PROVISION_MESSAGE_BYTES))
    }
}
