//! gRPC statuses, as what the agent has to do about them.

use hallmark_api::{rpc, types};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use crate::{AgentError, connect::CALL, verdict::Verdict};

const DETAILS_TYPE: &str = "spire.api.types.PermissionDeniedDetails";

type Reason = types::permission_denied_details::Reason;

/// The message of a unary call. The channel's own limit ends with the headers: a server that sends these and then
/// nothing would hold the agent for ever.
pub(crate) async fn answered<T>(
    call: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, AgentError> {
    let slow = |_| AgentError::Call {
        call,
        detail: "no answer in time".into(),
    };
    let answer = timeout(CALL, answer).await.map_err(slow)?;
    answer
        .map(Response::into_inner)
        .map_err(|status| classify(call, &status))
}

/// What a status of `call` means.
pub(crate) fn classify(call: &'static str, status: &Status) -> AgentError {
    let message = status.message().to_owned();
    match (status.code(), reason(status)) {
        (_, Some(Reason::AgentBanned)) => AgentError::Banned { message, node: None },
        // Of an attestation this is no word about an identity, but about the machine.
        (_, Some(Reason::AgentNotActive)) if call == ATTEST => AgentError::Suspended { message, node: None },
        (
            _,
            Some(Reason::AgentExpired | Reason::AgentNotAttested | Reason::AgentNotActive | Reason::AgentMustReattest),
        )
        | (Code::Unauthenticated, _) => AgentError::NotAccepted { message },
        (Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument, _) if call == ATTEST => {
            AgentError::Refused {
                verdict: Verdict::of(&message),
                message,
                node: None,
            }
        }
        (Code::PermissionDenied, _) => AgentError::NotAccepted { message },
        (Code::OutOfRange, _) if let Some(detail) = hallmark_api::too_large(&message) => AgentError::TooLarge {
            call,
            detail: detail.to_owned(),
        },
        (Code::ResourceExhausted, _) => AgentError::ServerBusy { message },
        _ => transport(status).unwrap_or_else(|| AgentError::Call {
            call,
            detail: format!("{:?}: {message}", status.code()),
        }),
    }
}

/// The name of the attestation call.
pub(crate) const ATTEST: &str = "AttestAgent";

/// What the TLS library says before the alert that came.
const ALERT: &str = "received fatal alert: ";
/// The alerts that are about a certificate (RFC 8446, section 6.2), as the TLS library names them.
const OF_CERTIFICATES: [&str; 8] = [
    "BadCertificate",
    "UnsupportedCertificate",
    "CertificateRevoked",
    "CertificateExpired",
    "CertificateUnknown",
    "UnknownCA",
    "AccessDenied",
    "CertificateRequired",
];

/// The server's alert about the agent's certificate. With TLS 1.3 it comes after the handshake, where the HTTP library keeps its words alone.
fn alert(error: &dyn std::error::Error) -> Option<AgentError> {
    let words = error.to_string();
    let (_, alert) = words.split_once(ALERT)?;
    let alert = alert.split(|it: char| !it.is_alphanumeric()).next()?;
    OF_CERTIFICATES
        .contains(&alert)
        .then(|| AgentError::CertificateRefused {
            alert: alert.to_owned(),
        })
}

/// The agent's own error, where one made the connection fail; or what the server's TLS said of the agent's certificate.
fn transport(status: &Status) -> Option<AgentError> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<AgentError>() {
            return Some(own.clone());
        }
        if let Some(own) = error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref())
            .and_then(|inner| inner.downcast_ref::<AgentError>())
        {
            return Some(own.clone());
        }
        if let Some(refused) = alert(error) {
            return Some(refused);
        }
        source = error.source();
    }
    None
}

fn reason(status: &Status) -> Option<Reason> {
    let details = rpc::Status::decode(status.details()).ok()?;
    details
        .details
        .iter()
        .filter(|any| any.type_url.ends_with(DETAILS_TYPE))
        .find_map(|any| types::PermissionDeniedDetails::decode(any.value.as_slice()).ok())
        .map(|details| details.reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(reason: Reason) -> Status {
        let details = types::PermissionDeniedDetails { reason: reason.into() };
        let any = prost_types_any(details.encode_to_vec());
        let status = rpc::Status {
            code: 7,
            message: String::new(),
            details: vec![any],
        };
        Status::with_details(Code::PermissionDenied, "no", status.encode_to_vec().into())
    }

    fn prost_types_any(value: Vec<u8>) -> prost_types::Any {
        prost_types::Any {
            type_url: format!("type.googleapis.com/{DETAILS_TYPE}"),
            value,
        }
    }

    #[test]
    fn each_reason_asks_for_its_own_answer() {
        assert!(matches!(
            classify("x", &denied(Reason::AgentBanned)),
            AgentError::Banned { .. }
        ));
        assert!(matches!(
            classify("x", &denied(Reason::AgentNotActive)),
            AgentError::NotAccepted { .. }
        ));
        assert!(matches!(
            classify(ATTEST, &denied(Reason::AgentNotActive)),
            AgentError::Suspended { .. }
        ));
        assert!(matches!(
            classify("x", &Status::unauthenticated("")),
            AgentError::NotAccepted { .. }
        ));
        assert!(matches!(
            classify(ATTEST, &Status::permission_denied("")),
            AgentError::Refused { .. }
        ));
        assert!(matches!(
            classify("x", &Status::resource_exhausted("")),
            AgentError::ServerBusy { .. }
        ));
        assert!(matches!(classify("x", &Status::internal("")), AgentError::Call { .. }));
        let words = "Error, decoded message length too large: found 4206090 bytes, the limit is: 4194304 bytes";
        let too_large = AgentError::TooLarge {
            call: "x",
            detail: "found 4206090 bytes, the limit is: 4194304 bytes".into(),
        };
        assert_eq!(classify("x", &Status::out_of_range(words)), too_large);
        assert!(matches!(
            classify("x", &Status::out_of_range("")),
            AgentError::Call { .. }
        ));
    }
}
