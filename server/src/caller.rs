//! Who calls, and what they may call: checked for every request, not once per connection.

mod access;
mod authorise;
mod denial;

pub use access::{Access, access, strangers_limit};
pub use authorise::{Authorise, AuthoriseLayer};
pub use denial::{Denial, DenialReason, denied};

use std::sync::Arc;

use hallmark_spiffe::SpiffeId;
use hallmark_store::Agent;
use tonic::Status;

use crate::state::Server;

/// In which role a request was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Over the admin socket, with the user id of the process.
    Local(Option<u32>),
    /// An administrator: named in the configuration, or the holder of an entry with `admin`.
    Admin(SpiffeId),
    /// An active agent.
    Agent(SpiffeId),
    /// The holder of an entry with `downstream`.
    Downstream(SpiffeId),
    /// Anyone: the method asks for no role, whatever certificate was shown.
    Anyone,
}

impl Caller {
    /// Whom to name in records.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Local(_) => "local",
            Self::Anyone => "anyone",
            Self::Admin(id) | Self::Agent(id) | Self::Downstream(id) => id.as_str(),
        }
    }
}

/// The caller of a request, put there by [`Authorise`].
///
/// # Errors
/// `PermissionDenied` for a request that nobody authorised.
pub fn of<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Status::permission_denied("authorization denied"))
}

/// The agent that calls.
///
/// # Errors
/// `PermissionDenied` when the caller is none.
pub fn agent_of<T>(request: &tonic::Request<T>) -> Result<SpiffeId, Status> {
    match of(request)? {
        Caller::Agent(id) => Ok(id),
        _ => Err(Status::permission_denied("authorization denied: only agents call this")),
    }
}

/// The agent's row as it is now: requests and streams that take their time look again before they answer.
///
/// # Errors
/// `PermissionDenied`, in the form that agents act on, when it was deleted or banned since.
pub fn standing(server: &Server, id: &SpiffeId) -> Result<Arc<Agent>, Status> {
    match server.agents.find(id) {
        None => Err(denied("the agent is not attested", Some(DenialReason::NotAttested))),
        Some(agent) if agent.banned => Err(denied("the agent is banned", Some(DenialReason::Banned))),
        Some(agent) => Ok(agent),
    }
}
