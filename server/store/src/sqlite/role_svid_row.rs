//! Rows of `role_svids`: few beside the records, as few SPIFFE IDs have a role.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use hallmark_state::RoleSvid;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{json, unread};
use crate::StoreError;

/// How long a row stays beyond its SVID's end, in seconds: a clock that went ahead and came back forgets nothing.
const GRACE: i64 = 24 * 3600;

/// Which rows stay when an SVID is noted that is issued then: those of SVIDs that end at this time or later.
pub(super) const fn kept_from(issued_at: i64) -> i64 {
    issued_at.saturating_sub(GRACE)
}

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
        .execute(params![kept_from(issued_at)])?;
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
        .map_err(|error| unread::of_key(path, "role_svids", format_args!("{serial:032x}"), &error))?;
    let read = |(agent, issued_at): (String, i64)| {
        let agent = SpiffeId::parse(&agent);
        let agent = agent.map_err(|error| {
            json::undecodable(&|| unread::row_of("role_svids", format_args!("{serial:032x}")), &error)
        })?;
        Ok(RoleSvid { agent, issued_at })
    };
    found.map(read).transpose()
}
