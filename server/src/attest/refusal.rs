//! A refused attestation: what is recorded, and what the node is told.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_verify::RefusalClass;
use tonic::{Code, Status};

use crate::convert::{DenialReason, denied};

/// What a refused node may learn. The codes say no more than the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeClass {
    /// As the verifier sorts them.
    Evidence(RefusalClass),
    /// Evidence that holds, of a machine that the operator's rules do not let in.
    NotAllowed,
    /// An operator banned the node.
    Banned,
    /// The TPM proved itself, and operators have not approved the node yet.
    Pending,
    /// An operator suspended the node.
    Suspended,
    /// The node is out of service for good.
    Retired,
    /// The TPM is known by another endorsement key: the machine is another node.
    OtherNode,
    /// The connection offers nothing to bind evidence to.
    NotBindable,
    /// The node did not go on in time.
    Silent,
    /// The attestation type is not one of this server's.
    UnknownType,
    /// The server could not do its part.
    Unable,
}

impl NodeClass {
    /// Whether the machine is refused for what it is or sent, not for the state of the server or of the way to it.
    pub(super) const fn is_of_the_machine(self) -> bool {
        !matches!(
            self,
            Self::Unable | Self::Silent | Self::NotBindable | Self::Evidence(RefusalClass::ServerSide)
        )
    }

    pub(super) fn code(self) -> ReasonCode {
        match self {
            Self::Evidence(RefusalClass::Malformed) => ReasonCode::new("HM-SRV-0101"),
            Self::Evidence(RefusalClass::UntrustedTpm) => ReasonCode::new("HM-SRV-0102"),
            Self::Evidence(RefusalClass::UnfitKey) => ReasonCode::new("HM-SRV-0103"),
            Self::Evidence(RefusalClass::Stale) => ReasonCode::new("HM-SRV-0104"),
            Self::Evidence(RefusalClass::NotBound) => ReasonCode::new("HM-SRV-0105"),
            Self::Evidence(RefusalClass::UnprovenStatement) => ReasonCode::new("HM-SRV-0106"),
            Self::Evidence(_) => ReasonCode::new("HM-SRV-0107"),
            Self::NotAllowed => ReasonCode::new("HM-SRV-0108"),
            Self::Banned => ReasonCode::new("HM-SRV-0109"),
            Self::Pending => ReasonCode::new("HM-SRV-0301"),
            Self::Suspended => ReasonCode::new("HM-SRV-0302"),
            Self::Retired => ReasonCode::new("HM-SRV-0303"),
            Self::OtherNode => ReasonCode::new("HM-SRV-0304"),
            Self::NotBindable => ReasonCode::new("HM-SRV-0110"),
            Self::Silent => ReasonCode::new("HM-SRV-0111"),
            Self::UnknownType => ReasonCode::new("HM-SRV-0112"),
            Self::Unable => ReasonCode::new("HM-SRV-0113"),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Evidence(class) => class.text(),
            Self::NotAllowed => "this machine is not allowed by the server's rules",
            Self::Banned => "agent is banned",
            Self::Pending => "this machine waits for an operator's approval",
            Self::Suspended => "this machine is suspended",
            Self::Retired => "this machine is retired",
            Self::OtherNode => "this machine is known by another endorsement key",
            Self::NotBindable => "attestation needs TLS 1.3 to the server itself",
            Self::Silent => "the node did not answer in time",
            Self::UnknownType => "this server does not offer that attestation type; it offers tpm2",
            Self::Unable => "the server cannot attest now; try again",
        }
    }

    const fn grpc(self) -> Code {
        match self {
            Self::Evidence(RefusalClass::Malformed) | Self::UnknownType => Code::InvalidArgument,
            Self::Evidence(RefusalClass::Stale) => Code::Aborted,
            Self::Evidence(RefusalClass::ServerSide) => Code::Internal,
            Self::NotBindable => Code::FailedPrecondition,
            Self::Silent => Code::DeadlineExceeded,
            Self::Unable => Code::Unavailable,
            Self::Evidence(_)
            | Self::NotAllowed
            | Self::Banned
            | Self::Pending
            | Self::Suspended
            | Self::Retired
            | Self::OtherNode => Code::PermissionDenied,
        }
    }
}

/// Why a node was refused, in full: for the record and the log.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What the node may learn.
    pub class: NodeClass,
    /// The reason's own code.
    pub code: ReasonCode,
    /// What failed.
    pub text: String,
    /// Both values compared.
    pub compared: Option<String>,
}

impl Refusal {
    /// A refusal for the error of a step.
    pub fn of(class: NodeClass, error: &dyn Coded) -> Self {
        Self {
            class,
            code: error.code(),
            text: error.to_string(),
            compared: error.compared(),
        }
    }

    /// A refusal whose reason is its class.
    #[must_use]
    pub fn bare(class: NodeClass) -> Self {
        Self {
            class,
            code: class.code(),
            text: class.text().to_owned(),
            compared: None,
        }
    }

    /// What the node is told.
    #[must_use]
    pub fn status(&self) -> Status {
        let message = format!("failed to attest: {} ({})", self.class.text(), self.class.code());
        match self.class {
            NodeClass::Banned | NodeClass::Retired => denied(&message, Some(DenialReason::Banned)),
            NodeClass::Suspended => denied(&message, Some(DenialReason::NotActive)),
            class => Status::new(class.grpc(), message),
        }
    }
}

impl From<hallmark_verify::VerifyError> for Refusal {
    fn from(error: hallmark_verify::VerifyError) -> Self {
        Self::of(NodeClass::Evidence(error.class()), &error)
    }
}

impl From<hallmark_evidence::EvidenceError> for Refusal {
    fn from(error: hallmark_evidence::EvidenceError) -> Self {
        Self::of(NodeClass::Evidence(RefusalClass::Malformed), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_hears_the_class_and_nothing_else() {
        let refusal = Refusal {
            class: NodeClass::Evidence(RefusalClass::UntrustedTpm),
            code: ReasonCode::new("HM-TEST-0001"),
            text: "the chain leads to no root".into(),
            compared: Some("a, b".into()),
        };
        let status = refusal.status();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "failed to attest: this TPM is not trusted by the server (HM-SRV-0102)"
        );
        assert!(status.details().is_empty());
    }

    #[test]
    fn a_banned_agent_is_told_in_the_form_that_agents_act_on() {
        assert!(!Refusal::bare(NodeClass::Banned).status().details().is_empty());
    }
}
