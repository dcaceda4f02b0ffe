//! What the authority above says, as a message; and the same as a column of the store.

use prost::Message as _;

use super::{EncodingError, wrong};
use crate::{UpstreamBundle, UpstreamJwtKey, UpstreamRoot, UpstreamRootState};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UpstreamMessage {
    #[prost(message, repeated, tag = "1")]
    roots: Vec<RootMessage>,
    #[prost(message, repeated, tag = "2")]
    jwt_keys: Vec<JwtKeyMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RootMessage {
    #[prost(bytes = "vec", tag = "1")]
    certificate: Vec<u8>,
    #[prost(int64, tag = "2")]
    added_at: i64,
    #[prost(string, tag = "3")]
    state: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtKeyMessage {
    #[prost(string, tag = "1")]
    key_id: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(int64, tag = "3")]
    expires_at: i64,
    #[prost(bool, tag = "4")]
    tainted: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CertificatesMessage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    certificates: Vec<Vec<u8>>,
}

pub(super) fn upstream_message(it: &UpstreamBundle) -> UpstreamMessage {
    let root = |it: &UpstreamRoot| RootMessage {
        certificate: it.certificate.clone(),
        added_at: it.added_at,
        state: it.state.as_str().to_owned(),
    };
    let key = |it: &UpstreamJwtKey| JwtKeyMessage {
        key_id: it.key_id.clone(),
        public_key: it.public_key.clone(),
        expires_at: it.expires_at,
        tainted: it.tainted,
    };
    UpstreamMessage {
        roots: it.roots.iter().map(root).collect(),
        jwt_keys: it.jwt_keys.iter().map(key).collect(),
    }
}

pub(super) fn upstream(it: UpstreamMessage) -> Result<UpstreamBundle, EncodingError> {
    let root = |it: RootMessage| {
        Ok(UpstreamRoot {
            certificate: it.certificate,
            added_at: it.added_at,
            state: UpstreamRootState::from_name(&it.state).ok_or_else(|| wrong("state of a root"))?,
        })
    };
    let key = |it: JwtKeyMessage| UpstreamJwtKey {
        key_id: it.key_id,
        public_key: it.public_key,
        expires_at: it.expires_at,
        tainted: it.tainted,
    };
    Ok(UpstreamBundle {
        roots: it.roots.into_iter().map(root).collect::<Result<_, _>>()?,
        jwt_keys: it.jwt_keys.into_iter().map(key).collect(),
    })
}

/// What the authority above says, as the store keeps it.
#[must_use]
pub fn encode_upstream(it: &UpstreamBundle) -> Vec<u8> {
    upstream_message(it).encode_to_vec()
}

/// Reads what [`encode_upstream`] wrote.
///
/// # Errors
/// [`EncodingError`] for other bytes.
pub fn decode_upstream(bytes: &[u8]) -> Result<UpstreamBundle, EncodingError> {
    let message = UpstreamMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    let read = upstream(message)?;
    canonical(bytes, &encode_upstream(&read))?;
    Ok(read)
}

/// Certificates above an authority, as the store keeps them: none without a byte.
#[must_use]
pub fn encode_certificates(certificates: &[Vec<u8>]) -> Vec<u8> {
    let certificates = certificates.to_vec();
    CertificatesMessage { certificates }.encode_to_vec()
}

/// Reads what [`encode_certificates`] wrote.
///
/// # Errors
/// [`EncodingError`] for other bytes.
pub fn decode_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, EncodingError> {
    let message = CertificatesMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    canonical(bytes, &encode_certificates(&message.certificates))?;
    Ok(message.certificates)
}

fn canonical(found: &[u8], expected: &[u8]) -> Result<(), EncodingError> {
    if found == expected {
        return Ok(());
    }
    Err(wrong("encoding"))
}
