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
pub mod svid;

use std::sync::Arc;

use hallmark_api::{
    admin::{admin_server::AdminServer, lifecycle_server::LifecycleServer},
    agent::agent_server::AgentServer,
    bundle::bundle_server::BundleServer,
    entry::entry_server::EntryServer,
    health::health_server::HealthServer,
    svid::svid_server::SvidServer,
};
use hallmark_policy::signed::SignedFile;
use tonic::service::Routes;

use crate::server::Server;

/// The largest message that is read: gRPC's own default, which no SPIRE client raises.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The largest message to services that have methods for anyone: a claim or a proof fits several times over, and
/// nobody makes the server hold much more than it will read.
const MAX_ANYONES_MESSAGE_BYTES: usize = 256 * 1024;

/// The largest message of the admin service: a list of digests. Only who may administer the server can send one.
const MAX_ADMIN_MESSAGE_BYTES: usize = SignedFile::MAX_BYTES + 64 * 1024;

/// What is served over TLS.
#[must_use]
pub fn public(server: &Arc<Server>) -> Routes {
    routes(server, MAX_ANYONES_MESSAGE_BYTES)
}

/// What is served on the admin socket: the same, and what is for this machine alone.
#[must_use]
pub fn local(server: &Arc<Server>) -> Routes {
    let health = HealthServer::new(health::HealthService::new(Arc::clone(server)));
    let admin = AdminServer::new(admin::AdminService::new(Arc::clone(server)));
    let nodes = LifecycleServer::new(lifecycle::LifecycleService::new(Arc::clone(server)));
    routes(server, MAX_MESSAGE_BYTES)
        .add_service(nodes.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(health.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(admin.max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES))
}

fn routes(server: &Arc<Server>, anyones: usize) -> Routes {
    let agents = AgentServer::new(agent::AgentService::new(Arc::clone(server)));
    let bundles = BundleServer::new(bundle::BundleService::new(Arc::clone(server)));
    let entries = EntryServer::new(entry::EntryService::new(Arc::clone(server)));
    let svids = SvidServer::new(svid::SvidService::new(Arc::clone(server)));
    Routes::new(agents.max_decoding_message_size(anyones))
        .add_service(bundles.max_decoding_message_size(anyones))
        .add_service(entries.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(svids.max_decoding_message_size(MAX_MESSAGE_BYTES))
}
