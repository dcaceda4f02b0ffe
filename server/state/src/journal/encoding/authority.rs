//! The rows of authorities, as messages.

use hallmark_spiffe::SpiffeId;

use super::{EncodingError, wrong};
use crate::{Authority, AuthorityState, JwtKey, PublishedJwtKey};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AuthorityMessage {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
    #[prost(int64, tag = "3")]
    created_at: i64,
    #[prost(string, tag = "4")]
    state: String,
    #[prost(bytes = "vec", repeated, tag = "5")]
    upstream: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JwtKeyMessage {
    #[prost(string, tag = "1")]
    key_id: String,
    #[prost(string, tag = "2")]
    label: String,
    #[prost(bytes = "vec", tag = "3")]
    public_key: Vec<u8>,
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(int64, tag = "5")]
    expires_at: i64,
    #[prost(string, tag = "6")]
    state: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PublishedJwtKeyMessage {
    #[prost(string, tag = "1")]
    key_id: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(string, tag = "3")]
    publisher: String,
    #[prost(string, tag = "4")]
    agent: String,
    #[prost(int64, tag = "5")]
    published_at: i64,
    #[prost(int64, tag = "6")]
    expires_at: i64,
}

pub(super) fn published_jwt_key_message(it: &PublishedJwtKey) -> PublishedJwtKeyMessage {
    PublishedJwtKeyMessage {
        key_id: it.key_id.clone(),
        public_key: it.public_key.clone(),
        publisher: it.publisher.to_string(),
        agent: it.agent.to_string(),
        published_at: it.published_at,
        expires_at: it.expires_at,
    }
}

pub(super) fn published_jwt_key(it: PublishedJwtKeyMessage) -> Result<PublishedJwtKey, EncodingError> {
    let id = |text: &str| SpiffeId::parse(text).map_err(|_| wrong("SPIFFE ID of a publisher"));
    Ok(PublishedJwtKey {
        publisher: id(&it.publisher)?,
        agent: id(&it.agent)?,
        key_id: it.key_id,
        public_key: it.public_key,
        published_at: it.published_at,
        expires_at: it.expires_at,
    })
}

pub(super) fn authority_message(it: &Authority) -> AuthorityMessage {
    AuthorityMessage {
        label: it.label.clone(),
        certificate: it.certificate.clone(),
        created_at: it.created_at,
        state: it.state.as_str().to_owned(),
        upstream: it.upstream.clone(),
    }
}

pub(super) fn authority(it: AuthorityMessage) -> Result<Authority, EncodingError> {
    Ok(Authority {
        label: it.label,
        certificate: it.certificate,
        upstream: it.upstream,
        created_at: it.created_at,
        state: state(&it.state)?,
    })
}

pub(super) fn jwt_key_message(it: &JwtKey) -> JwtKeyMessage {
    JwtKeyMessage {
        key_id: it.key_id.clone(),
        label: it.label.clone(),
        public_key: it.public_key.clone(),
        created_at: it.created_at,
        expires_at: it.expires_at,
        state: it.state.as_str().to_owned(),
    }
}

pub(super) fn jwt_key(it: JwtKeyMessage) -> Result<JwtKey, EncodingError> {
    Ok(JwtKey {
        key_id: it.key_id,
        label: it.label,
        public_key: it.public_key,
        created_at: it.created_at,
        expires_at: it.expires_at,
        state: state(&it.state)?,
    })
}

fn state(name: &str) -> Result<AuthorityState, EncodingError> {
    AuthorityState::from_name(name).ok_or_else(|| wrong("state of an authority"))
}
