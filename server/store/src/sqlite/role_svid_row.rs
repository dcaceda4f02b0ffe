//! Rows of `role_svids`: few beside the records, as few SPIFFE IDs have a role.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::json;
use crate::{RoleSvid, StoreError, SvidIntents};

/// How long a row stays beyond its SVID's end, in seconds: a clock that went ahead and came back forgets nothing.
const GRACE: i64 = 24 * 3600;

/// Notes those SVIDs whose id has a role, and forgets those that have expired.
pub(super) fn note(connection: &Connection, intents: &SvidIntents) -> rusqlite::Result<()> {
    let mut with_role = intents.svids.iter().filter(|svid| svid.has_role).peekable();
    if with_role.peek().is_none() {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM role_svids WHERE expires_at < ?1")?
        .execute(params![intents.at.saturating_sub(GRACE)])?;
    let mut insert = connection
        .prepare_cached("INSERT INTO role_svids (serial, agent, issued_at, expires_at) VALUES (?1, ?2, ?3, ?4)")?;
    for svid in with_role {
        let serial = svid.serial.to_be_bytes();
        insert.execute(params![serial, &*intents.holder, intents.at, svid.expires_at])?;
    }
    Ok(())
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
