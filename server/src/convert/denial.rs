//! The refusal of a call, as SPIRE's agents understand it.

use hallmark_api::{
    rpc,
    types::{PermissionDeniedDetails, permission_denied_details::Reason},
};
use prost::Message as _;
use tonic::{Code, Status};

const DETAILS_TYPE: &str = "type.googleapis.com/spire.api.types.PermissionDeniedDetails";

/// What an agent has to know about its own refusal: it acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenialReason {
    /// The certificate of the connection has expired since.
    Expired,
    /// The server does not know the agent (any more).
    NotAttested,
    /// The certificate is not the one that the agent is to use.
    NotActive,
    /// An operator banned the agent.
    Banned,
    /// The agent must attest again instead.
    MustReattest,
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The method's path.
    pub method: String,
    /// What the agent is told beside it; `None` for callers that are no agents.
    pub reason: Option<DenialReason>,
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        denied(
            &format!("authorization denied for method {}", denial.method),
            denial.reason,
        )
    }
}

/// `PermissionDenied` with the reason in `grpc-status-details-bin`.
#[must_use]
pub fn denied(message: &str, reason: Option<DenialReason>) -> Status {
    let Some(reason) = reason else {
        return Status::permission_denied(message);
    };
    let reason = match reason {
        DenialReason::Expired => Reason::AgentExpired,
        DenialReason::NotAttested => Reason::AgentNotAttested,
        DenialReason::NotActive => Reason::AgentNotActive,
        DenialReason::Banned => Reason::AgentBanned,
        DenialReason::MustReattest => Reason::AgentMustReattest,
    };
    let detail = PermissionDeniedDetails { reason: reason.into() };
    let details = rpc::Status {
        code: i32::from(Code::PermissionDenied),
        message: message.to_owned(),
        details: vec![prost_types::Any {
            type_url: DETAILS_TYPE.to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(Code::PermissionDenied, message, details.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_can_read_why_it_was_refused() {
        let denial = Denial {
            method: "/a.B/C".into(),
            reason: Some(DenialReason::Banned),
        };
        let status = Status::from(denial);
        assert_eq!(status.message(), "authorization denied for method /a.B/C");
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.code, 7);
        let detail = PermissionDeniedDetails::decode(&*details.details[0].value).unwrap();
        assert_eq!(detail.reason(), Reason::AgentBanned);
        assert_eq!(details.details[0].type_url, DETAILS_TYPE);
    }

    #[test]
    fn others_get_no_details() {
        let status = Status::from(Denial {
            method: "/a.B/C".into(),
            reason: None,
        });
        assert!(status.details().is_empty());
    }
}
