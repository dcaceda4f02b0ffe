//! Reads.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use hallmark_state::{Action, Authority, AuthorityState, FirstRequest, PolicyFile, Snapshot};
use rusqlite::{Connection, Row};

use super::{apply, entry_row, evidence_row, inventory_row, journal_row, json, link_row, node_row};
use crate::StoreError;

/// A row that is read in two steps: its columns, then their meaning.
type Read<T> = fn(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>;

/// Everything that a server needs to start, from one snapshot.
pub(super) fn load(path: &Path, connection: &Connection) -> Result<Snapshot, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let snapshot = connection.unchecked_transaction().map_err(at)?;
    let select = |columns: &str, rest: &str| format!("SELECT {columns} FROM {rest}");
    let (rules_revision, rules_digest) = apply::rules(path, &snapshot)?;
    let revision = snapshot
        .query_row("SELECT coalesce(max(revision), 0) FROM journal", [], |row| row.get(0))
        .map_err(at)?;
    Ok(Snapshot {
        revision,
        entries: all(
            path,
            &snapshot,
            &select(entry_row::COLUMNS, "entries ORDER BY created_at, id"),
            entry_row::read,
        )?,
        nodes: all(
            path,
            &snapshot,
            &select(node_row::COLUMNS, "agents ORDER BY id"),
            node_row::read,
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
        bundle_sequence: apply::bundle_sequence(path, &snapshot)?,
        requests: requests(path, &snapshot)?,
        rules_revision,
        rules_digest,
        totals: Vec::new(),
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
    let Some(state) = AuthorityState::from_name(&state) else {
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

fn requests(path: &Path, connection: &Connection) -> Result<Vec<(SpiffeId, Action, Vec<FirstRequest>)>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut statement = connection
        .prepare("SELECT node, action, requests FROM admin_requests ORDER BY node, action")
        .map_err(at)?;
    let rows = statement
        .query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })
        .map_err(at)?;
    let read = |(node, action, requests): (String, String, String)| {
        let what = || format!("request about {node}");
        let id = SpiffeId::parse(&node).map_err(|error| json::undecodable(&what, &error))?;
        let action = Action::from_name(&action).ok_or_else(|| StoreError::Undecodable {
            what: what(),
            reason: format!("action {action}"),
        })?;
        Ok((id, action, journal_row::parse_requests(&requests, what)?))
    };
    rows.map(|row| read(row.map_err(at)?)).collect()
}
