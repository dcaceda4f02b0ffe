//! Why a key or the CSR was not accepted.

use hallmark_reason::ReasonCode;

use crate::refusal::{RefusalClass, Row, coded_by_row, expected};
use hallmark_der::DerFault;

/// Which key of the claim is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// The endorsement key.
    Ek,
    /// The attestation key.
    Ak,
    /// The key that the SVID is asked for.
    Svid,
}

impl std::fmt::Display for KeyRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ek => "endorsement key",
            Self::Ak => "attestation key",
            Self::Svid => "SVID key",
        })
    }
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// No RSA or ECC key.
    #[error("has no public key")]
    NotAKeyPair,
    /// An attribute that must be set is not.
    #[error("lacks attributes")]
    AttributesMissing {
        /// What must be set.
        required: String,
        /// What is set.
        actual: String,
    },
    /// An attribute that must not be set is.
    #[error("has attributes that it must not have")]
    AttributesForbidden {
        /// What must not be set.
        forbidden: String,
        /// What is set.
        actual: String,
    },
    /// The scheme does not fit the key's purpose.
    #[error("has an unsuitable scheme")]
    Scheme {
        /// What is needed.
        required: &'static str,
        /// What the key has.
        actual: String,
    },
    /// A storage cipher is there where it must not be, or the reverse.
    #[error("has an unsuitable symmetric cipher")]
    Cipher {
        /// What is needed.
        required: &'static str,
    },
    /// Good for its purpose, but not made after the one template; said of attestation keys only.
    #[error("is not made after the agent's template")]
    Template {
        /// What is needed.
        required: &'static str,
        /// What the key is.
        actual: String,
    },
    /// Another algorithm or curve than the profile of SVIDs has; said of SVID keys only.
    #[error("has an unsuitable type")]
    Type {
        /// What is needed.
        required: &'static str,
        /// What the key is.
        actual: String,
    },
}

/// A key of the claim does not have the properties that attestation needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {role} {fault}")]
pub struct KeyError {
    /// Which key.
    pub role: KeyRole,
    /// What is wrong with it.
    pub fault: KeyFault,
}

impl KeyError {
    pub(crate) fn row(&self) -> Row {
        let compared = match &self.fault {
            KeyFault::NotAKeyPair => None,
            KeyFault::AttributesMissing { required, actual } => expected(required, actual),
            KeyFault::AttributesForbidden { forbidden, actual } => expected(format!("none of {forbidden}"), actual),
            KeyFault::Scheme { required, actual }
            | KeyFault::Type { required, actual }
            | KeyFault::Template { required, actual } => expected(required, actual),
            KeyFault::Cipher { required } => expected(required, "another"),
        };
        Row::new(self.code_of(), RefusalClass::UnfitKey, compared)
    }

    fn code_of(&self) -> ReasonCode {
        match (self.role, &self.fault) {
            (KeyRole::Ek, KeyFault::NotAKeyPair) => ReasonCode::new("HM-VERIFY-0201"),
            (KeyRole::Ek, KeyFault::AttributesMissing { .. }) => ReasonCode::new("HM-VERIFY-0202"),
            (KeyRole::Ek, KeyFault::AttributesForbidden { .. }) => ReasonCode::new("HM-VERIFY-0203"),
            (KeyRole::Ek, KeyFault::Scheme { .. }) => ReasonCode::new("HM-VERIFY-0204"),
            (KeyRole::Ek, KeyFault::Cipher { .. }) => ReasonCode::new("HM-VERIFY-0205"),
            (KeyRole::Ak, KeyFault::NotAKeyPair) => ReasonCode::new("HM-VERIFY-0211"),
            (KeyRole::Ak, KeyFault::AttributesMissing { .. }) => ReasonCode::new("HM-VERIFY-0212"),
            (KeyRole::Ak, KeyFault::AttributesForbidden { .. }) => ReasonCode::new("HM-VERIFY-0213"),
            (KeyRole::Ak, KeyFault::Scheme { .. }) => ReasonCode::new("HM-VERIFY-0214"),
            (KeyRole::Ak, KeyFault::Cipher { .. }) => ReasonCode::new("HM-VERIFY-0215"),
            (KeyRole::Svid, KeyFault::NotAKeyPair) => ReasonCode::new("HM-VERIFY-0221"),
            (KeyRole::Svid, KeyFault::AttributesMissing { .. }) => ReasonCode::new("HM-VERIFY-0222"),
            (KeyRole::Svid, KeyFault::AttributesForbidden { .. }) => ReasonCode::new("HM-VERIFY-0223"),
            (KeyRole::Svid, KeyFault::Scheme { .. }) => ReasonCode::new("HM-VERIFY-0224"),
            (KeyRole::Svid, KeyFault::Cipher { .. }) => ReasonCode::new("HM-VERIFY-0225"),
            (_, KeyFault::Template { .. }) => ReasonCode::new("HM-VERIFY-0216"),
            (_, KeyFault::Type { .. }) => ReasonCode::new("HM-VERIFY-0226"),
        }
    }
}

coded_by_row!(KeyError);

/// Why the certificate signing request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// More bytes than a CSR needs.
    #[error("CSR is too large")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes received.
        actual: usize,
    },
    /// The encoding is not DER.
    #[error("CSR is not DER: {0}")]
    NotDer(DerFault),
    /// DER, but not a PKCS #10 request.
    #[error("CSR is not a PKCS #10 request: {0}")]
    NotPkcs10(String),
    /// The request is for another key than the SVID key.
    #[error("CSR is for another key than the SVID key")]
    OtherKey {
        /// SHA-256 of the SVID key's SPKI, hex.
        svid_key: String,
        /// SHA-256 of the CSR's SPKI, hex.
        csr_key: String,
    },
    /// Signed with another algorithm.
    #[error("CSR is signed with another algorithm than ECDSA with SHA-256")]
    Algorithm {
        /// The AlgorithmIdentifier found, DER in hex.
        actual: String,
    },
    /// The signature is wrong.
    #[error("CSR's signature is wrong")]
    Signature,
}

impl CsrError {
    pub(crate) fn row(&self) -> Row {
        match self {
            Self::TooLarge { limit, actual } => Row::new(
                ReasonCode::new("HM-VERIFY-0231"),
                RefusalClass::Malformed,
                expected(format!("at most {limit} bytes"), actual),
            ),
            Self::NotDer(_) => Row::new(ReasonCode::new("HM-VERIFY-0232"), RefusalClass::Malformed, None),
            Self::NotPkcs10(_) => Row::new(ReasonCode::new("HM-VERIFY-0233"), RefusalClass::Malformed, None),
            Self::OtherKey { svid_key, csr_key } => Row::new(
                ReasonCode::new("HM-VERIFY-0234"),
                RefusalClass::UnfitKey,
                expected(svid_key, csr_key),
            ),
            Self::Algorithm { actual } => Row::new(
                ReasonCode::new("HM-VERIFY-0235"),
                RefusalClass::UnfitKey,
                expected("300a06082a8648ce3d040302", actual),
            ),
            Self::Signature => Row::new(ReasonCode::new("HM-VERIFY-0236"), RefusalClass::UnfitKey, None),
        }
    }
}

coded_by_row!(CsrError);
