//! Reads.

use std::{path::Path, sync::Arc};

use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Action, DamagedNode, Entry, FirstRequest, LeftOutEntry, Node, PolicyFile, Snapshot};
use rusqlite::{Connection, Row};

use super::{
    apply, assignment_row, authority_row, entry_row, evidence_row, inventory_row, journal_row, json, link_row,
    node_row, shared::Shared, unread,
};
use crate::StoreError;

/// A row that is read in two steps: its columns, then their meaning.
pub(super) type Read<T> = fn(&Row<'_>) -> rusqlite::Result<Result<T, StoreError>>;

/// Everything that a server needs to start, from one snapshot.
pub(super) fn load(path: &Path, trust_domain: &TrustDomain, connection: &Connection) -> Result<Snapshot, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let snapshot = connection.unchecked_transaction().map_err(at)?;
    let (rules_revision, rules_digest) = apply::rules(path, &snapshot)?;
    let revision = snapshot
        .query_row("SELECT coalesce(max(revision), 0) FROM journal", [], |row| row.get(0))
        .map_err(|e| unread::of_journal(path, &e))?;
    let mut shared = Shared::new(trust_domain);
    let (entries, left_out) = entries(path, trust_domain, &snapshot, &mut shared)?;
    let (nodes, damaged_nodes) = nodes(path, trust_domain, &snapshot, &mut shared)?;
    Ok(Snapshot {
        revision,
        entries,
        left_out,
        nodes,
        damaged_nodes,
        inventory: all(path, &snapshot, INVENTORY, inventory_row::read)?,
        tpm_names: all(path, &snapshot, TPM_NAMES, link_row::read_name)?,
        machine_eks: link_row::machines(path, &snapshot)?,
        authorities: all(path, &snapshot, authority_row::AUTHORITIES, authority_row::read)?,
        jwt_keys: all(path, &snapshot, authority_row::JWT_KEYS, authority_row::read_jwt_key)?,
        published_jwt_keys: all(
            path,
            &snapshot,
            authority_row::PUBLISHED_JWT_KEYS,
            authority_row::read_published_jwt_key,
        )?,
        upstream: all(path, &snapshot, authority_row::UPSTREAM, authority_row::read_upstream)?
            .pop()
            .unwrap_or_default(),
        held: evidence_row::held(path, &snapshot, |id| shared.id(id))?,
        policy_files: all(path, &snapshot, POLICY_FILES, policy_file)?,
        bundle_sequence: apply::bundle_sequence(path, &snapshot)?,
        requests: all(path, &snapshot, REQUESTS, request)?,
        image_assignments: all(path, &snapshot, IMAGE_ASSIGNMENTS, assignment_row::read)?,
        rules_revision,
        rules_digest,
        totals: Vec::new(),
        interrupted: 0,
    })
}

/// A table, how many of its columns that are read first are its key, those columns, and in which order its rows are read.
pub(super) type Rows = (&'static str, usize, &'static str, &'static str);

pub(super) const ENTRIES: Rows = ("entries", 1, entry_row::COLUMNS, "created_at, id");
pub(super) const NODES: Rows = ("agents", 1, node_row::COLUMNS, "id");
pub(super) const INVENTORY: Rows = ("inventory", 1, inventory_row::COLUMNS, "ek");
pub(super) const TPM_NAMES: Rows = ("tpm_names", 1, link_row::NAME_COLUMNS, "name");
pub(super) const POLICY_FILES: Rows = (
    "policy_files",
    2,
    "kind, name, serial, payload, signed, applied_at, in_force",
    "kind, name",
);
pub(super) const IMAGE_ASSIGNMENTS: Rows = ("image_assignments", 1, assignment_row::COLUMNS, "ek");
pub(super) const REQUESTS: Rows = ("admin_requests", 2, "node, action, requests", "node, action");

/// Reads every row of a table.
pub(super) fn each<T>(
    path: &Path,
    connection: &Connection,
    (table, keys, columns, order): Rows,
    read: Read<T>,
    mut take: impl FnMut(&Row<'_>, Result<T, StoreError>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let sql = format!("SELECT {columns} FROM {table} ORDER BY {order}");
    let mut statement = connection.prepare(&sql).map_err(at)?;
    let mut rows = statement.query([]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let value = match read(row) {
            Ok(value) => value,
            Err(error) => Err(unread::of_row(path, (table, keys), row, &error)),
        };
        take(row, value)?;
    }
    Ok(())
}

pub(super) fn all<T>(path: &Path, connection: &Connection, rows: Rows, read: Read<T>) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    each(path, connection, rows, read, |_, value| {
        all.push(value?);
        Ok(())
    })?;
    Ok(all)
}

/// The entries, and those that are left out: a row that does not read back, or that no request could have made, costs its
/// entry alone.
fn entries(
    path: &Path,
    trust_domain: &TrustDomain,
    connection: &Connection,
    shared: &mut Shared<'_>,
) -> Result<(Vec<Arc<Entry>>, Vec<LeftOutEntry>), StoreError> {
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    each(path, connection, ENTRIES, entry_row::read, |row, entry| {
        match entry_row::allowed(entry, trust_domain)? {
            Ok(entry) => entries.push(Arc::new(shared.entry(entry))),
            Err(reason) => left_out.push(LeftOutEntry {
                id: unread::key(row, 1),
                reason,
            }),
        }
        Ok(())
    })?;
    Ok((entries, left_out))
}

/// The nodes, and which of them have a row that does not read back: it costs its node alone. Where even the node is not known
/// from it, nobody could say whose ban is lost: that is an error.
fn nodes(
    path: &Path,
    trust_domain: &TrustDomain,
    connection: &Connection,
    shared: &mut Shared<'_>,
) -> Result<(Vec<Arc<Node>>, Vec<DamagedNode>), StoreError> {
    let (mut nodes, mut damaged) = (Vec::new(), Vec::new());
    each(path, connection, NODES, node_row::read, |row, node| {
        let error = match node {
            Ok(node) => {
                nodes.push(Arc::new(shared.node(node)));
                return Ok(());
            }
            Err(error) => error,
        };
        let StoreError::Undecodable { reason, .. } = &error else {
            return Err(error);
        };
        let Some(node) = node_row::of_damaged(row, trust_domain) else {
            return Err(error);
        };
        damaged.push(DamagedNode {
            id: node.id.clone(),
            reason: reason.clone(),
        });
        nodes.push(Arc::new(node));
        Ok(())
    })?;
    Ok((nodes, damaged))
}

pub(super) fn policy_file(row: &Row<'_>) -> rusqlite::Result<Result<PolicyFile, StoreError>> {
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

/// What administrators asked for of a node.
pub(super) type Requests = (SpiffeId, Action, Vec<FirstRequest>);

pub(super) fn request(row: &Row<'_>) -> rusqlite::Result<Result<Requests, StoreError>> {
    let (node, action, requests): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let what = || unread::row_of("admin_requests", format!("{node} {action}"));
    let read = || {
        let id = SpiffeId::parse(&node).map_err(|error| json::undecodable(&what, &error))?;
        let kind = Action::from_name(&action).ok_or_else(|| StoreError::Undecodable {
            what: what(),
            reason: format!("action {action}"),
        })?;
        Ok((id, kind, journal_row::parse_requests(&requests, what)?))
    };
    Ok(read())
}
