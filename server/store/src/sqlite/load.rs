//! Reads.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{agent_row, apply, entry_row, evidence_row, inventory_row, link_row, record_row};
use crate::{
    Authority, AuthorityState, Loaded, Outcome, PolicyFile, RecordFilter, RecordKind, RecordQuery, StoreError,
    StoredRecord, Total,
};

/// A row that is read in two steps: its columns, then their meaning.
type Read<T> = fn(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>;

/// Everything that a server needs to start, from one snapshot.
pub(super) fn load(path: &Path, connection: &Connection) -> Result<Loaded, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let snapshot = connection.unchecked_transaction().map_err(at)?;
    let select = |columns: &str, rest: &str| format!("SELECT {columns} FROM {rest}");
    Ok(Loaded {
        entries: all(
            path,
            &snapshot,
            &select(entry_row::COLUMNS, "entries ORDER BY created_at, id"),
            entry_row::read,
        )?,
        agents: all(
            path,
            &snapshot,
            &select(agent_row::COLUMNS, "agents ORDER BY id"),
            agent_row::read,
        )?,
        inventory: all(
            path,
            &snapshot,
            &select(inventory_row::COLUMNS, "inventory ORDER BY ek"),
            inventory_row::read,
        )?,
        tpm_names: all(
            path,
            &snapshot,
            &select(link_row::NAME_COLUMNS, "tpm_names"),
            link_row::read_name,
        )?,
        machine_eks: link_row::machines(path, &snapshot)?,
        authorities: all(
            path,
            &snapshot,
            "SELECT label, certificate, created_at, state FROM authority_certificates \
             ORDER BY created_at, label, certificate",
            authority,
        )?,
        held: evidence_row::held(path, &snapshot)?,
        policy_files: all(
            path,
            &snapshot,
            "SELECT kind, name, serial, payload, signed, applied_at, in_force FROM policy_files ORDER BY kind, name",
            policy_file,
        )?,
        bundle_sequence: apply::bundle_sequence(&snapshot).map_err(at)?,
        totals: all(path, &snapshot, "SELECT kind, outcome, count FROM totals", total)?,
        interrupted: 0,
    })
}

fn all<T>(path: &Path, connection: &Connection, sql: &str, read: Read<T>) -> Result<Vec<T>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut statement = connection.prepare(sql).map_err(at)?;
    let rows = statement.query_map([], read).map_err(at)?;
    rows.map(|row| row.map_err(at)?).collect()
}

fn authority(row: &Row<'_>) -> rusqlite::Result<Result<Authority, StoreError>> {
    let label: String = row.get(0)?;
    let state: String = row.get(3)?;
    let Some(state) = AuthorityState::parse(&state) else {
        let reason = format!("state {state}");
        return Ok(Err(StoreError::Undecodable {
            what: format!("authority {label}"),
            reason,
        }));
    };
    Ok(Ok(Authority {
        label,
        certificate: row.get(1)?,
        created_at: row.get(2)?,
        state,
    }))
}

fn policy_file(row: &Row<'_>) -> rusqlite::Result<Result<PolicyFile, StoreError>> {
    Ok(Ok(PolicyFile {
        kind: row.get(0)?,
        name: row.get(1)?,
        serial: row.get(2)?,
        payload: row.get(3)?,
        signed: row.get(4)?,
        applied_at: row.get(5)?,
        in_force: row.get(6)?,
    }))
}

fn total(row: &Row<'_>) -> rusqlite::Result<Result<Total, StoreError>> {
    let (kind, outcome): (i64, i64) = (row.get(0)?, row.get(1)?);
    let count: i64 = row.get(2)?;
    let read = RecordKind::from_number(kind).zip(Outcome::from_number(outcome));
    Ok(read
        .map(|(kind, outcome)| Total {
            kind,
            outcome,
            count: u64::try_from(count).unwrap_or_default(),
        })
        .ok_or_else(|| StoreError::Undecodable {
            what: "total".into(),
            reason: format!("kind {kind}, outcome {outcome}"),
        }))
}

/// The records that `query` asks for.
pub(super) fn records(
    path: &Path,
    connection: &Connection,
    query: &RecordQuery,
) -> Result<Vec<StoredRecord>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let (first, last) = sequences(connection, query).map_err(at)?;
    let mut statement = connection.prepare_cached(&records_sql(query)).map_err(at)?;
    let rows = statement
        .query_map(
            params![
                query.after,
                query.limit,
                query.subject.as_deref().unwrap_or_default(),
                first,
                last,
                query.since,
                query.until
            ],
            record_row::read,
        )
        .map_err(at)?;
    rows.map(|row| row.map_err(at)?).collect()
}

/// How far the server's clock may have been set back between two records, in seconds, for a query by time to find both.
const CLOCK_SET_BACK: i64 = 86_400;

/// The sequence numbers between which records of the query's times stand: found by halving, so that a query over the last
/// hour does not read the records of years.
fn sequences(connection: &Connection, query: &RecordQuery) -> rusqlite::Result<(i64, i64)> {
    let first = match query.since {
        0 => 0,
        since => sequence_at(connection, since.saturating_sub(CLOCK_SET_BACK))?,
    };
    let last = match query.until {
        0 => i64::MAX,
        until => sequence_at(connection, until.saturating_add(CLOCK_SET_BACK))?,
    };
    Ok((first, last))
}

/// The first sequence number from which on records are of `time` or later.
fn sequence_at(connection: &Connection, time: i64) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(sequence) FROM records")?
        .query_row([], |row| row.get(0))?;
    let mut at = connection.prepare_cached("SELECT at FROM records WHERE sequence >= ?1 ORDER BY sequence LIMIT 1")?;
    let (mut low, mut high) = (0, last.unwrap_or(0).saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<i64> = at.query_row([middle], |row| row.get(0)).optional()?;
        match found {
            Some(found) if found < time => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn records_sql(query: &RecordQuery) -> String {
    // Spelt so that a query for anything but SVIDs can use the partial index over subjects.
    let kinds = match query.filter {
        RecordFilter::All => "",
        RecordFilter::Verdicts => " AND kind <> 2 AND kind = 1",
        RecordFilter::Svids => " AND kind IN (2, 3)",
        RecordFilter::Admin => " AND kind <> 2 AND kind = 4",
    };
    let subject = if query.subject.is_some() {
        " AND subject = ?3"
    } else {
        " AND ?3 = ''"
    };
    let (place, order) = match (query.newest_first, query.after) {
        (false, _) => ("sequence > ?1", "ASC"),
        (true, 0) => ("?1 = 0", "DESC"),
        (true, _) => ("sequence < ?1", "DESC"),
    };
    // One spelling for all, so that the statement is prepared once.
    let time = " AND sequence BETWEEN ?4 AND ?5 AND (?6 = 0 OR at >= ?6) AND (?7 = 0 OR at < ?7)";
    let columns = record_row::COLUMNS;
    format!("SELECT {columns} FROM records WHERE {place}{kinds}{subject}{time} ORDER BY sequence {order} LIMIT ?2")
}
