//! Rows of `authority_certificates`, `jwt_keys`, `published_jwt_keys` and `upstream_bundle`.

use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Authority, AuthorityState, JwtKey, PublishedJwtKey, UpstreamBundle,
    journal::encoding::{EncodingError, decode_certificates, decode_upstream, encode_certificates, encode_upstream},
};
use rusqlite::{Connection, Row, params};

use super::{load, unread};
use crate::StoreError;

pub(super) const AUTHORITIES: load::Rows = (
    "authority_certificates",
    1,
    "label, certificate, created_at, state, upstream",
    "created_at, label, certificate",
);
pub(super) const JWT_KEYS: load::Rows = (
    "jwt_keys",
    1,
    "key_id, label, public_key, created_at, expires_at, state",
    "created_at, key_id",
);

pub(super) const PUBLISHED_JWT_KEYS: load::Rows = (
    "published_jwt_keys",
    1,
    "key_id, public_key, publisher, agent, published_at, expires_at",
    "published_at, key_id",
);

pub(super) fn put(connection: &Connection, authority: &Authority) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO authority_certificates (label, certificate, created_at, state, upstream) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            authority.label,
            authority.certificate,
            authority.created_at,
            authority.state.as_str(),
            encode_certificates(&authority.upstream)
        ])
        .map(drop)
}

pub(super) fn delete(connection: &Connection, certificate: &[u8]) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM authority_certificates WHERE certificate = ?1")?
        .execute([certificate])
}

pub(super) fn put_jwt_key(connection: &Connection, key: &JwtKey) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO jwt_keys (key_id, label, public_key, created_at, expires_at, state) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            key.key_id,
            key.label,
            key.public_key,
            key.created_at,
            key.expires_at,
            key.state.as_str()
        ])
        .map(drop)
}

pub(super) fn delete_jwt_key(connection: &Connection, key_id: &str) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM jwt_keys WHERE key_id = ?1")?
        .execute([key_id])
}

pub(super) fn put_published_jwt_key(connection: &Connection, key: &PublishedJwtKey) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO published_jwt_keys (key_id, public_key, publisher, agent, published_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            key.key_id,
            key.public_key,
            key.publisher.as_str(),
            key.agent.as_str(),
            key.published_at,
            key.expires_at
        ])
        .map(drop)
}

pub(super) fn delete_published_jwt_key(connection: &Connection, key_id: &str) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM published_jwt_keys WHERE key_id = ?1")?
        .execute([key_id])
}

pub(super) fn read_published_jwt_key(row: &Row<'_>) -> rusqlite::Result<Result<PublishedJwtKey, StoreError>> {
    let key_id: String = row.get(0)?;
    let id = |text: String| {
        SpiffeId::parse(&text).map_err(|error| StoreError::Undecodable {
            what: unread::row_of("published_jwt_keys", &key_id),
            reason: error.to_string(),
        })
    };
    let (publisher, agent) = (id(row.get(2)?), id(row.get(3)?));
    let (public_key, published_at, expires_at) = (row.get(1)?, row.get(4)?, row.get(5)?);
    Ok(publisher.and_then(|publisher| {
        Ok(PublishedJwtKey {
            agent: agent?,
            publisher,
            public_key,
            published_at,
            expires_at,
            key_id: key_id.clone(),
        })
    }))
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Authority, StoreError>> {
    let label: String = row.get(0)?;
    let state = match state("authority_certificates", &label, &row.get::<_, String>(3)?) {
        Ok(state) => state,
        Err(error) => return Ok(Err(error)),
    };
    let upstream = match decode_certificates(&row.get::<_, Vec<u8>>(4)?) {
        Ok(upstream) => upstream,
        Err(error) => return Ok(Err(undecodable("authority_certificates", &label, &error))),
    };
    Ok(Ok(Authority {
        label,
        upstream,
        certificate: row.get(1)?,
        created_at: row.get(2)?,
        state,
    }))
}

pub(super) fn read_jwt_key(row: &Row<'_>) -> rusqlite::Result<Result<JwtKey, StoreError>> {
    let key_id: String = row.get(0)?;
    let state = match state("jwt_keys", &key_id, &row.get::<_, String>(5)?) {
        Ok(state) => state,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(JwtKey {
        key_id,
        label: row.get(1)?,
        public_key: row.get(2)?,
        created_at: row.get(3)?,
        expires_at: row.get(4)?,
        state,
    }))
}

/// What the authority above says: one row, or none.
pub(super) const UPSTREAM: load::Rows = ("upstream_bundle", 1, "id, content", "id");

pub(super) fn put_upstream(connection: &Connection, upstream: &UpstreamBundle) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO upstream_bundle (id, content) VALUES (1, ?1)")?
        .execute([encode_upstream(upstream)])
        .map(drop)
}

pub(super) fn read_upstream(row: &Row<'_>) -> rusqlite::Result<Result<UpstreamBundle, StoreError>> {
    let content: Vec<u8> = row.get(1)?;
    Ok(decode_upstream(&content).map_err(|error| undecodable("upstream_bundle", "1", &error)))
}

fn undecodable(table: &str, key: &str, error: &EncodingError) -> StoreError {
    StoreError::Undecodable {
        what: unread::row_of(table, key),
        reason: error.to_string(),
    }
}

fn state(table: &str, key: &str, name: &str) -> Result<AuthorityState, StoreError> {
    AuthorityState::from_name(name).ok_or_else(|| StoreError::Undecodable {
        what: unread::row_of(table, key),
        reason: format!("state {name}"),
    })
}
