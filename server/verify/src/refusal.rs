//! What all refusals of this room share: a code, both values, the likely cause, the next step, and what the node itself
//! may be told.

use hallmark_reason::ReasonCode;

/// What the refused node may learn. The operator gets the code and both compared values; the node, which may be an
/// attacker's, gets only this class, so that it cannot probe trust anchors, inventory or policy step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalClass {
    /// A structure could not be read. The sender built it, so nothing is given away.
    Malformed,
    /// This TPM is not one that the server trusts; not told: whether by certificate, inventory or age.
    UntrustedTpm,
    /// A key that the node presented does not have the properties that attestation asks for.
    UnfitKey,
    /// The challenge was answered too late or does not belong to this exchange: start again.
    Stale,
    /// The evidence is signed for another connection, nonce or key: something stands between agent and server.
    NotBound,
    /// A signed statement does not say, or not provably, what it must.
    UnprovenStatement,
    /// The server asked for something that it must not ask for, or its own trust material is at fault.
    ServerSide,
}

impl RefusalClass {
    /// The sentence for the node.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the attestation evidence is malformed",
            Self::UntrustedTpm => "this TPM is not trusted by the server",
            Self::UnfitKey => "a key of the attestation does not have the required properties",
            Self::Stale => "the challenge is no longer valid; attest again",
            Self::NotBound => {
                "the evidence is not bound to this connection; a proxy that ends TLS between agent and server makes \
                 attestation impossible"
            }
            Self::UnprovenStatement => "the TPM's signed statements do not prove what they must",
            Self::ServerSide => "the server cannot judge this attestation; its operator finds the reason in its log",
        }
    }
}

/// What a refusal is; every error enum of this room maps each variant to one.
pub(crate) struct Row {
    pub(crate) code: ReasonCode,
    pub(crate) class: RefusalClass,
    pub(crate) compared: Option<String>,
}

impl Row {
    pub(crate) const fn new(code: ReasonCode, class: RefusalClass, compared: Option<String>) -> Self {
        Self { code, class, compared }
    }
}

/// Implements `Coded` and `class()` for an error enum that has `fn row(&self) -> Row`; methods of `Coded` that are more precise
/// than the catalogue follow the type.
macro_rules! coded_by_row {
    ($error:ty $(, $precise:item)*) => {
        impl hallmark_reason::Coded for $error {
            fn code(&self) -> hallmark_reason::ReasonCode {
                self.row().code
            }
            fn compared(&self) -> Option<String> {
                self.row().compared
            }
            $($precise)*
        }

        impl $error {
            /// What the refused node itself may learn.
            #[must_use]
            pub fn class(&self) -> $crate::RefusalClass {
                self.row().class
            }
        }
    };
}
pub(crate) use coded_by_row;

/// "expected X, got Y", the form in which every pair of values is shown.
pub(crate) fn expected(expected: impl std::fmt::Display, actual: impl std::fmt::Display) -> Option<String> {
    Some(format!("expected {expected}, got {actual}"))
}
