//! Who calls, and what they may call: checked for every request, not once per connection.

mod access;
mod authorise;
mod role;
mod role_error;

pub use access::{Access, access, strangers_limit};
pub use authorise::{Authorise, AuthoriseLayer};
pub use role::{AdminIds, Roles};
pub use role_error::RoleError;

use std::sync::Arc;

use hallmark_spiffe::SpiffeId;
pub use hallmark_state::decide::RoleHolder;
use hallmark_state::{Node, NodeState};
use tonic::Status;

use crate::{
    convert::{DenialReason, denied},
    journal::{Act, Journal},
};

/// In which role a request was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Over the admin socket, with the user id of the process.
    Local(Option<u32>),
    /// An administrator: named in the configuration, or the holder of an entry with `admin`.
    Admin(RoleHolder),
    /// An active agent.
    Agent(SpiffeId),
    /// The holder of an entry with `downstream`.
    Downstream(RoleHolder),
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
            Self::Agent(id) => id.as_str(),
            Self::Admin(holder) | Self::Downstream(holder) => holder.id.as_str(),
        }
    }
}

impl Caller {
    /// Who has the role, for a caller over TLS that has one.
    #[must_use]
    pub const fn role_holder(&self) -> Option<&RoleHolder> {
        match self {
            Self::Admin(holder) | Self::Downstream(holder) => Some(holder),
            Self::Local(_) | Self::Agent(_) | Self::Anyone => None,
        }
    }

    /// Who acts, as exactly as it is known: for records of what operators do.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Local(Some(uid)) => format!("uid:{uid}"),
            Self::Admin(holder) | Self::Downstream(holder) => holder.to_string(),
            _ => self.label().to_owned(),
        }
    }
}

/// The longest reason that a caller may give, in bytes.
const MAX_REASON: usize = 1000;

/// Who makes the request, and what its header [`hallmark_api::REASON`] says why.
///
/// # Errors
/// `PermissionDenied` for a request that nobody authorised; `InvalidArgument` for a reason that cannot be recorded.
pub fn act<T>(request: &tonic::Request<T>) -> Result<Act, Status> {
    let by = of(request)?.actor();
    let Some(value) = request.metadata().get_bin(hallmark_api::REASON) else {
        return Ok(Act {
            by,
            reason: String::new(),
        });
    };
    let bytes = value.to_bytes().map_err(|_| unrecordable())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unrecordable())?;
    Ok(Act {
        by,
        reason: reason(text)?.to_owned(),
    })
}

/// A reason as it may be recorded.
///
/// # Errors
/// `InvalidArgument` when it is too long, or reads as another text than it is.
pub fn reason(text: &str) -> Result<&str, Status> {
    if text.len() > MAX_REASON || hallmark_reason::misleading(text).is_some() {
        return Err(unrecordable());
    }
    Ok(text)
}

fn unrecordable() -> Status {
    Status::invalid_argument(format!(
        "the reason is no UTF-8, has more than {MAX_REASON} bytes, or control or format characters"
    ))
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
/// `PermissionDenied`, in the form that agents act on, when it is no longer served.
pub fn standing(journal: &Journal, id: &SpiffeId) -> Result<Arc<Node>, Status> {
    match journal.node(id) {
        None => Err(denied("the agent is not attested", Some(DenialReason::NotAttested))),
        Some(agent) => match denial(&agent) {
            None => Ok(agent),
            Some(reason) if agent.state.is_served() => {
                Err(denied("what the agent proved is no longer enough", Some(reason)))
            }
            Some(reason) => Err(denied(&format!("the agent is {}", agent.state), Some(reason))),
        },
    }
}

/// Why a node is not served, as agents understand it; `None` for one that is.
#[must_use]
pub fn denial(agent: &Node) -> Option<DenialReason> {
    match agent.state {
        // It may prove something better.
        NodeState::Active => (!agent.untrusted_reason.is_empty()).then_some(DenialReason::MustReattest),
        // Neither comes back by itself: the agent ends, and forgets.
        NodeState::Banned | NodeState::Retired => Some(DenialReason::Banned),
        NodeState::Suspended => Some(DenialReason::NotActive),
        NodeState::PreRegistered | NodeState::Pending => Some(DenialReason::NotAttested),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_what_it_is() {
        for refused in [
            "stolen\u{202e}nelots",
            "a\nb",
            "ad\u{200b}min",
            &"r".repeat(MAX_REASON + 1),
        ] {
            let status = reason(refused).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{refused:?}");
        }
        assert_eq!(
            reason("gestohlen, f\u{fc}r Ticket 7").unwrap(),
            "gestohlen, f\u{fc}r Ticket 7"
        );
    }
}
