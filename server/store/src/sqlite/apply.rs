//! Changes, written.

use std::path::Path;

use hallmark_spiffe::TrustDomain;
use hallmark_state::{Change, Entry, EntryId, PolicyFile, Transaction, journal::sha256};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::{
    assignment_row, authority_row, ek_certificate_row, entry_row, evidence_row, inventory_row, journal_row, json,
    link_row, node_row, role_svid_row, unread,
};
use crate::StoreError;

/// Makes a transaction's changes inside a savepoint: all of them, or none. `revision` is the record's number.
pub(super) fn in_savepoint(
    path: &Path,
    connection: &Connection,
    transaction: &Transaction,
    revision: u64,
) -> Result<(), StoreError> {
    // Most are of SVIDs: their rows are the journal's alone.
    if transaction.changes.is_empty() {
        return Ok(());
    }
    let run = |sql: &str| -> Result<(), StoreError> {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(|e| StoreError::from_sqlite(path, &e))
    };
    run("SAVEPOINT job")?;
    let mut changes = transaction.changes.iter();
    match changes.try_for_each(|change| apply(path, connection, change, revision)) {
        Ok(()) => run("RELEASE job"),
        Err(error) => {
            if !connection.is_autocommit() {
                run("ROLLBACK TO job")?;
                run("RELEASE job")?;
            }
            Err(error)
        }
    }
}

fn apply(path: &Path, connection: &Connection, change: &Change, revision: u64) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    match change {
        Change::PutEntry { entry, replaces } => put_entry(path, connection, entry, replaces.is_none()),
        Change::DeleteEntry(entry) => {
            let gone = entry_row::delete(connection, &entry.id).map_err(at)?;
            found(gone, || format!("entry {}", entry.id))
        }
        Change::PutNode(node) => node_row::put(connection, node).map_err(at),
        Change::DeleteNode(id) => {
            let gone = node_row::delete(connection, id).map_err(at)?;
            found(gone, || format!("node {id}"))
        }
        Change::PutAppraised { node, appraised } => {
            let changed = node_row::put_appraised(connection, node, *appraised).map_err(at)?;
            found(changed, || format!("node {node}"))
        }
        Change::PutInventoryLine(line) => inventory_row::put(connection, line).map_err(at),
        Change::DeleteInventoryLine(line) => {
            let gone = inventory_row::delete(connection, &line.ek).map_err(at)?;
            found(gone, || format!("inventory line {}", line.ek))
        }
        Change::PutEvidence { node, state, body, .. } => {
            let new = body.as_ref().ok_or_else(|| bodiless("evidence of", node))?;
            evidence_row::put(path, connection, new, state.evidence_sha256.as_ref(), revision)
        }
        Change::PutQuoteTime { node, state } => {
            let changed = evidence_row::put_runs(connection, node, &state.runs_json()).map_err(at)?;
            found(changed, || format!("evidence of {node}"))
        }
        Change::PutFacts { node, body, .. } => {
            let new = body.as_ref().ok_or_else(|| bodiless("facts of", node))?;
            let changed = evidence_row::put_facts(connection, new).map_err(at)?;
            found(changed, || format!("evidence of {}", new.node))
        }
        Change::PutTpmName(new) => link_row::put_name(connection, new).map_err(at),
        Change::PutMachineEks(eks) => link_row::put_machine(connection, eks).map_err(at),
        Change::PutEkCertificate { ek_sha256, body, .. } => {
            let new = body.as_ref();
            let new = new.ok_or_else(|| bodiless("certificate of EK", &json::hex(ek_sha256)))?;
            ek_certificate_row::put(connection, new).map_err(at)
        }
        Change::PutPolicyFile(file) => put_policy_file(connection, file).map_err(at),
        Change::PutRules { manifest, .. } => put_rules(connection, revision, &manifest.digest()).map_err(at),
        Change::PutAuthority(_)
        | Change::DeleteAuthority { .. }
        | Change::PutJwtKey(_)
        | Change::DeleteJwtKey { .. }
        | Change::PutPublishedJwtKey(_)
        | Change::DeletePublishedJwtKey { .. }
        | Change::PutUpstream(_) => apply_authority(path, connection, change),
        Change::PutBundleSequence(new) => set_sequence(path, connection, *new),
        Change::PutRequests { node, action, requests } => {
            put_requests(connection, node.as_str(), action.as_str(), requests).map_err(at)
        }
        Change::PutRoleSvid {
            serial,
            agent,
            issued_at,
            expires_at,
        } => role_svid_row::put(connection, *serial, agent, *issued_at, *expires_at)
            .map_err(|e| taken(e, || format!("the SVID with serial number {serial:032x}")).unwrap_or_else(at)),
        Change::PutImageAssignment(it) => assignment_row::put(connection, it).map_err(at),
        Change::DeleteImageAssignment(ek) => found(assignment_row::delete(connection, ek).map_err(at)?, || {
            format!("image assignment of {ek}")
        }),
        // Of the configuration the journal's row has what it is made of, and the tables nothing.
        Change::PutTrust { .. } => Ok(()),
        other => Err(StoreError::Unknown {
            what: format!("{other:?}").chars().take(40).collect(),
        }),
    }
}

fn put_entry(path: &Path, connection: &Connection, entry: &Entry, is_new: bool) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    if is_new {
        let Err(error) = entry_row::insert(connection, entry) else {
            return Ok(());
        };
        let taken = taken(error, || format!("entry {}", entry.id)).map_err(at)?;
        // One that nobody is served by is not known to the decision.
        if !is_left_out(path, connection, &entry.id)? {
            return Err(taken);
        }
    }
    let changed = entry_row::update(connection, entry).map_err(at)?;
    found(changed, || format!("entry {}", entry.id))
}

fn apply_authority(path: &Path, connection: &Connection, change: &Change) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    match change {
        Change::PutAuthority(authority) => authority_row::put(connection, authority).map_err(at),
        Change::DeleteAuthority { certificate } => {
            let gone = authority_row::delete(connection, certificate).map_err(at)?;
            found(gone, || "certificate of an authority".to_owned())
        }
        Change::PutJwtKey(key) => authority_row::put_jwt_key(connection, key).map_err(at),
        Change::DeleteJwtKey { key_id } => {
            let gone = authority_row::delete_jwt_key(connection, key_id).map_err(at)?;
            found(gone, || format!("JWT key {key_id}"))
        }
        Change::PutUpstream(upstream) => authority_row::put_upstream(connection, upstream).map_err(at),
        Change::PutPublishedJwtKey(key) => authority_row::put_published_jwt_key(connection, key).map_err(at),
        Change::DeletePublishedJwtKey { key_id } => {
            let gone = authority_row::delete_published_jwt_key(connection, key_id).map_err(at)?;
            found(gone, || format!("published JWT key {key_id}"))
        }
        _ => Ok(()),
    }
}

fn is_left_out(path: &Path, connection: &Connection, id: &EntryId) -> Result<bool, StoreError> {
    let trust_domain = meta(path, connection, "trust_domain", |text| TrustDomain::parse(text).ok())?;
    trust_domain.map_or(Ok(false), |trust_domain| {
        entry_row::is_left_out(path, connection, &trust_domain, id)
    })
}

/// A change as the journal has it: it is not made a second time.
fn bodiless(what: &str, of: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unknown {
        what: format!("{what} {of} without its body"),
    }
}

/// The refusal, where a row with this key is there already; otherwise the error itself.
fn taken(error: rusqlite::Error, what: impl Fn() -> String) -> Result<StoreError, rusqlite::Error> {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Ok(StoreError::Exists { what: what() }),
        _ => Err(error),
    }
}

fn found(changed: usize, what: impl Fn() -> String) -> Result<(), StoreError> {
    if changed == 0 {
        return Err(StoreError::Missing { what: what() });
    }
    Ok(())
}

fn put_policy_file(connection: &Connection, file: &PolicyFile) -> rusqlite::Result<()> {
    let signed = Some(file.signed.as_bytes()).filter(|signed| !signed.is_empty());
    for body in [&*file.payload].into_iter().chain(signed) {
        connection
            .prepare_cached("INSERT OR IGNORE INTO bodies (sha256, body) VALUES (?1, ?2)")?
            .execute(params![sha256(body), body])?;
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO policy_files (kind, name, serial, payload, signed, applied_at, in_force) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            file.kind,
            file.name,
            file.serial,
            file.payload,
            file.signed,
            file.applied_at,
            file.in_force,
        ])
        .map(drop)
}

fn put_requests(
    connection: &Connection,
    node: &str,
    action: &str,
    requests: &[hallmark_state::FirstRequest],
) -> rusqlite::Result<()> {
    if requests.is_empty() {
        return connection
            .prepare_cached("DELETE FROM admin_requests WHERE node = ?1 AND action = ?2")?
            .execute(params![node, action])
            .map(drop);
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO admin_requests (node, action, requests) VALUES (?1, ?2, ?3)")?
        .execute(params![node, action, journal_row::requests_json(requests)])
        .map(drop)
}

/// Which rules are in force: `<revision> <SHA-256, hex>`.
fn put_rules(connection: &Connection, revision: u64, digest: &[u8; 32]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('rules', ?1)")?
        .execute([format!("{revision} {}", json::hex(digest))])
        .map(drop)
}

/// The revision and the digest of the rules in force; zero when there are none yet.
pub(super) fn rules(path: &Path, connection: &Connection) -> Result<(u64, [u8; 32]), StoreError> {
    let read = |text: &str| {
        let (revision, digest) = text.split_once(' ')?;
        Some((revision.parse().ok()?, json::hash(digest)?))
    };
    Ok(meta(path, connection, "rules", read)?.unwrap_or_default())
}

/// A value of `meta`, if it is there.
pub(super) fn meta<T>(
    path: &Path,
    connection: &Connection,
    key: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .map_err(|e| unread::of_key(path, "meta", key, &e))?;
    let undecodable = |text: &str| StoreError::Undecodable {
        what: unread::row_of("meta", key),
        reason: format!("it is {text:?}"),
    };
    let read = |text: String| read(&text).ok_or_else(|| undecodable(&text));
    text.map(read).transpose()
}

pub(super) fn set_sequence(path: &Path, connection: &Connection, new: u64) -> Result<(), StoreError> {
    let stored = bundle_sequence(path, connection)?;
    if new <= stored {
        return Err(StoreError::SequenceNotRising { stored, new });
    }
    connection
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('bundle_sequence', ?1)",
            params![new.to_string()],
        )
        .map(drop)
        .map_err(|e| StoreError::from_sqlite(path, &e))
}

/// The stored sequence number of the bundle; 0 when there is none yet.
pub(super) fn bundle_sequence(path: &Path, connection: &Connection) -> Result<u64, StoreError> {
    Ok(meta(path, connection, "bundle_sequence", |text| text.parse().ok())?.unwrap_or_default())
}

/// Writes a page, so that a full disk or a file system gone read-only shows.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('checks', '1') \
             ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        )?
        .execute([])
        .map(drop)
}
