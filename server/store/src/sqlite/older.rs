//! What a store of an older schema says of the authority, before it is brought to the present schema.

use std::collections::BTreeSet;

use hallmark_state::Authority;
use rusqlite::Connection;

use super::{SqliteOptions, authority_row, load, look::Look, migrations, open};
use crate::StoreError;

/// A store that the next opening brings to a newer schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OlderStore {
    /// The authorities, oldest first.
    pub authorities: Vec<Authority>,
    /// The labels of keys that records of the authority name.
    pub recorded_keys: BTreeSet<String>,
}

/// Where authorities stood up to schema version 8.
const AUTHORITIES: load::Rows = (
    "authorities",
    1,
    "label, certificate, created_at, state, x''",
    "created_at, label",
);
/// And up to version 17, when all were self-signed.
const SELF_SIGNED: load::Rows = (
    "authority_certificates",
    1,
    "label, certificate, created_at, state, x''",
    "created_at, label, certificate",
);
/// The version from which on an authority above may have signed them.
const UPSTREAM: u32 = 16;
/// The version from which on an authority has several certificates.
const CERTIFICATES: u32 = 9;

/// Reads an older store; `None` for one that is not there yet, or is of the present schema.
pub(super) fn read(options: &SqliteOptions) -> Result<Option<OlderStore>, StoreError> {
    if std::fs::metadata(options.path()).map_or(0, |file| file.len()) == 0 {
        return Ok(None);
    }
    let look = Look::open(options)?;
    let connection = look.connection()?;
    let schema = migrations::recognise(options.path(), connection)?;
    if schema == 0 || schema == migrations::newest() {
        return Ok(None);
    }
    open::require_trust_domain(options, connection)?;
    let rows = match schema {
        ..CERTIFICATES => AUTHORITIES,
        CERTIFICATES..UPSTREAM => SELF_SIGNED,
        UPSTREAM.. => authority_row::AUTHORITIES,
    };
    let recorded = recorded_keys(connection, schema);
    Ok(Some(OlderStore {
        authorities: load::all(options.path(), connection, rows, authority_row::read)?,
        recorded_keys: recorded.map_err(|e| StoreError::from_sqlite(options.path(), &e))?,
    }))
}

fn recorded_keys(connection: &Connection, schema: u32) -> rusqlite::Result<BTreeSet<String>> {
    // Kind 4 is what operators and the server did.
    let sql = if schema < migrations::JOURNAL {
        "SELECT DISTINCT subject FROM records WHERE kind <> 2 AND kind = 4 AND subject LIKE 'hallmark-x509-%'"
    } else {
        "SELECT DISTINCT subject FROM event_subjects WHERE subject LIKE 'hallmark-x509-%'"
    };
    let mut statement = connection.prepare(sql)?;
    let labels = statement.query_map([], |row| row.get(0))?;
    labels.collect()
}
