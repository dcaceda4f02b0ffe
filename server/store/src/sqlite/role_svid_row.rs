//! Rows of `role_svids`: few beside the records, as few SPIFFE IDs have a role.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use hallmark_state::RoleSvid;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::json;
use crate::StoreError;

/// How long a row stays beyond its SVID's end, in seconds: a clock that went ahead and came back forgets nothing.
const GRACE: i64 = 24 * 3600;

/// Notes an SVID whose id has a role, and forgets those that have expired.
pub(super) fn put(
    connection: &Connection,
    serial: u128,
    agent: &SpiffeId,
    issued_at: i64,
    expires_at: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM role_svids WHERE expires_at < ?1")?
        .execute(params![issued_at.saturating_sub(GRACE)])?;
    connection
        .prepare_cached("INSERT INTO role_svids (serial, agent, issued_at, expires_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![serial.to_be_bytes(), agent.as_str(), issued_at, expires_at])
        .map(drop)
}

/// The row of a serial number.
pub(super) fn find(path: &Path, connection: &Connection, serial: u128) -> Result<Option<RoleSvid>, StoreError> {
    let found = connection
        .prepare_cached("SELECT agent, issued_at FROM role_svids WHERE serial = ?1")
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
            statement.query_row(params![serial.to_be_bytes()], row).optional()
        })
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    let read = |(agent, issued_at): (String, i64)| {
        let agent = SpiffeId::parse(&agent);
        let agent = agent.map_err(|error| json::undecodable(&|| format!("role SVID {serial:032x}"), &error))?;
        Ok(RoleSvid { agent, issued_at })
    };
    found.map(read).transpose()
}
