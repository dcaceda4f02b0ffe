//! Why a call is refused, and the gRPC status that says so (spiffe-conformance, status summary).

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::jwt::JwtError;
use hallmark_workload::PeerError;
use tonic::{Code, Status};

use crate::agent::NoToken;

/// The metadata key under which a refusal's reason code travels.
const REASON: &str = "hallmark-reason";

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    /// `workload.spiffe.io: true` is missing (Workload Endpoint, section 3).
    #[error("security header missing from request")]
    SecurityHeader,
    /// No entry matches the caller.
    #[error("no identity issued")]
    NoIdentity,
    /// The agent has not had its first answer from the server.
    #[error("the agent is starting and has nothing to serve yet")]
    NotReady,
    /// Entries match, but none has a valid SVID now.
    #[error("an identity is authorised, but there is no valid SVID")]
    NotIssued,
    /// A bound is reached.
    #[error("too many open calls")]
    TooMany,
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
    /// Not a call that this agent has.
    #[error("{method} is not implemented")]
    Unimplemented {
        /// The method's name, as called.
        method: String,
    },
    /// The request is no gRPC message of the call's type.
    #[error("the request is malformed: {why}")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The audience cannot be that of a token.
    #[error("the audience cannot be used: {why}")]
    Audience {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The identity that is asked for is no SPIFFE ID.
    #[error("the requested SPIFFE ID is malformed: {why}")]
    RequestedId {
        /// What is wrong with it.
        why: String,
    },
    /// The identity that is asked for is not the caller's.
    #[error("the caller has no identity {id}")]
    NotOfCaller {
        /// What is asked for.
        id: String,
    },
    /// The server gives no JWT-SVID.
    #[error("there is no JWT-SVID now: {reason}")]
    NoJwtSvid {
        /// Why.
        reason: String,
    },
    /// The token is not to be believed.
    #[error("{reason}")]
    Token {
        /// The reason's own code.
        code: ReasonCode,
        /// The reason.
        reason: String,
    },
    /// The request did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The caller could not be attested.
    #[error("the caller cannot be attested: {reason}")]
    Attestation {
        /// The reason's own code.
        code: ReasonCode,
        /// The reason.
        reason: String,
    },
}

impl Refusal {
    fn grpc(&self) -> Code {
        match self {
            Self::SecurityHeader
            | Self::Malformed { .. }
            | Self::Audience { .. }
            | Self::RequestedId { .. }
            | Self::Token { .. } => Code::InvalidArgument,
            Self::NoIdentity | Self::NotOfCaller { .. } => Code::PermissionDenied,
            Self::Unimplemented { .. } => Code::Unimplemented,
            Self::RequestTimeout => Code::DeadlineExceeded,
            Self::NotReady
            | Self::NotIssued
            | Self::NoJwtSvid { .. }
            | Self::TooMany
            | Self::Stopping
            | Self::Attestation { .. } => Code::Unavailable,
        }
    }

    /// A token is refused for this.
    pub(super) fn of_token(error: &JwtError) -> Self {
        let compared = error.compared().map(|compared| format!(": {compared}"));
        Self::Token {
            code: error.code(),
            reason: format!("{error}{}", compared.unwrap_or_default()),
        }
    }

    /// The status, with the reason code in its metadata.
    pub(super) fn status(&self) -> Status {
        let mut status = Status::new(self.grpc(), self.to_string());
        if let Ok(code) = self.code().as_str().parse() {
            status.metadata_mut().insert(REASON, code);
        }
        status
    }
}

impl From<NoToken> for Refusal {
    fn from(error: NoToken) -> Self {
        let reason = match &error {
            NoToken::Gone => return Self::NoIdentity,
            NoToken::NotAttested | NoToken::Changed => error.to_string(),
            NoToken::Failed(inner) => format!("{inner} ({})", inner.code()),
        };
        Self::NoJwtSvid { reason }
    }
}

impl From<PeerError> for Refusal {
    fn from(error: PeerError) -> Self {
        Self::Attestation {
            code: error.code(),
            reason: error.to_string(),
        }
    }
}

impl Coded for Refusal {
    fn code(&self) -> ReasonCode {
        match self {
            Self::SecurityHeader => ReasonCode::new("HM-WL-0010"),
            Self::NoIdentity => ReasonCode::new("HM-WL-0011"),
            Self::NotReady => ReasonCode::new("HM-WL-0012"),
            Self::NotIssued => ReasonCode::new("HM-WL-0013"),
            Self::TooMany => ReasonCode::new("HM-WL-0014"),
            Self::Stopping => ReasonCode::new("HM-WL-0015"),
            Self::Unimplemented { .. } => ReasonCode::new("HM-WL-0016"),
            Self::Malformed { .. } => ReasonCode::new("HM-WL-0017"),
            Self::RequestTimeout => ReasonCode::new("HM-WL-0018"),
            Self::Audience { .. } => ReasonCode::new("HM-WL-0026"),
            Self::RequestedId { .. } => ReasonCode::new("HM-WL-0027"),
            Self::NotOfCaller { .. } => ReasonCode::new("HM-WL-0028"),
            Self::NoJwtSvid { .. } => ReasonCode::new("HM-WL-0029"),
            Self::Attestation { code, .. } | Self::Token { code, .. } => *code,
        }
    }
}
