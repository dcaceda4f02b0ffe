//! Changes, written.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use hallmark_state::EntryId;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::{
    agent_row, ek_certificate_row, entry_row, evidence_row, inventory_row, link_row, record_row, role_svid_row,
    writer::Work,
};
use crate::{Authority, Change, Committed, PolicyFile, RecordRange, StoreError};

/// Does a job's work inside a savepoint: all of it, or nothing.
pub(super) fn in_savepoint(path: &Path, connection: &Connection, work: &Work) -> Result<Committed, StoreError> {
    let run = |sql: &str| -> Result<(), StoreError> {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .map_err(|e| StoreError::from_sqlite(path, &e))
    };
    run("SAVEPOINT job")?;
    match apply(path, connection, work) {
        Ok(committed) => run("RELEASE job").map(|()| committed),
        Err(error) => {
            if !connection.is_autocommit() {
                run("ROLLBACK TO job")?;
                run("RELEASE job")?;
            }
            Err(error)
        }
    }
}

fn apply(path: &Path, connection: &Connection, work: &Work) -> Result<Committed, StoreError> {
    let mut committed = Committed::default();
    match work {
        Work::Changes(changes) => {
            for change in changes {
                if let Some(new) = apply_one(path, connection, change)? {
                    let first = committed.records.map_or(new.first, |r| r.first);
                    committed.records = Some(RecordRange { first, last: new.last });
                    if matches!(change, Change::SvidIntents(_)) {
                        committed.intents = Some(new);
                    }
                }
            }
        }
        Work::Check => check(connection).map_err(|e| StoreError::from_sqlite(path, &e))?,
    }
    Ok(committed)
}

/// One change; gives the records that it appended.
fn apply_one(path: &Path, connection: &Connection, change: &Change) -> Result<Option<RecordRange>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let one = |sequence| {
        Some(RecordRange {
            first: sequence,
            last: sequence,
        })
    };
    match change {
        Change::CreateEntry(entry) => match entry_row::insert(connection, entry) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(StoreError::Exists {
                what: format!("entry {}", entry.id),
            }),
            done => done.map(|()| None).map_err(at),
        },
        Change::UpdateEntry(entry) => {
            let changed = entry_row::update(connection, entry).map_err(at)?;
            found(changed, || format!("entry {}", entry.id)).map(|()| None)
        }
        Change::DeleteEntry(id) => delete_entry(connection, id, at).map(|()| None),
        Change::PutAgent(agent) => agent_row::put(connection, agent).map(|()| None).map_err(at),
        Change::DeleteAgent(id) => delete_agent(connection, id, at).map(|()| None),
        Change::PutInventory(line) => inventory_row::put(connection, line).map(|()| None).map_err(at),
        Change::DeleteInventory(ek) => {
            let removed = inventory_row::delete(connection, ek).map_err(at)?;
            found(removed, || format!("inventory line {ek}")).map(|()| None)
        }
        Change::PutEvidence(new) => evidence_row::put(path, connection, new).map(|()| None),
        Change::PutFacts(new) => {
            let changed = evidence_row::put_facts(connection, new).map_err(at)?;
            found(changed, || format!("evidence of {}", new.node)).map(|()| None)
        }
        Change::PutTpmName(new) => link_row::put_name(connection, new).map(|()| None).map_err(at),
        Change::PutMachineEks(eks) => link_row::put_machine(connection, eks).map(|()| None).map_err(at),
        Change::PutEkCertificate(new) => ek_certificate_row::put(connection, new).map(|()| None).map_err(at),
        Change::PutPolicyFile(file) => put_policy_file(connection, file).map(|()| None).map_err(at),
        Change::PutAuthority(authority) => put_authority(connection, authority).map(|()| None).map_err(at),
        Change::BundleSequence(new) => set_sequence(connection, *new, at).map(|()| None),
        Change::Record(record) => record_row::append(connection, record).map(one).map_err(at),
        Change::SvidIntents(intents) => {
            role_svid_row::note(connection, intents).map_err(at)?;
            record_row::append_intents(connection, intents).map_err(at)
        }
        Change::SvidOutcome(outcome) => match record_row::append_outcome(connection, outcome) {
            Err(rusqlite::Error::StatementChangedRows(_)) => Err(StoreError::Missing {
                what: format!("an open intent {} to {}", outcome.intents.first, outcome.intents.last),
            }),
            done => done.map(one).map_err(at),
        },
    }
}

fn found(changed: usize, what: impl Fn() -> String) -> Result<(), StoreError> {
    if changed == 0 {
        Err(StoreError::Missing { what: what() })
    } else {
        Ok(())
    }
}

fn delete_entry(
    connection: &Connection,
    id: &EntryId,
    at: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("DELETE FROM entries WHERE id = ?1")
        .and_then(|mut statement| statement.execute(params![id.as_str()]))
        .map_err(at)?;
    found(changed, || format!("entry {id}"))
}

fn delete_agent(
    connection: &Connection,
    id: &SpiffeId,
    at: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("DELETE FROM agents WHERE id = ?1")
        .and_then(|mut statement| statement.execute(params![id.as_str()]))
        .map_err(at)?;
    found(changed, || format!("agent {id}"))
}

fn put_authority(connection: &Connection, authority: &Authority) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO authority_certificates (label, certificate, created_at, state) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            authority.label,
            authority.certificate,
            authority.created_at,
            authority.state.as_str()
        ])
        .map(|_| ())
}

fn put_policy_file(connection: &Connection, file: &PolicyFile) -> rusqlite::Result<()> {
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
        .map(|_| ())
}

fn set_sequence(
    connection: &Connection,
    new: u64,
    at: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let stored = bundle_sequence(connection).map_err(&at)?;
    if new <= stored {
        return Err(StoreError::SequenceNotRising { stored, new });
    }
    connection
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('bundle_sequence', ?1)",
            params![new.to_string()],
        )
        .map(|_| ())
        .map_err(at)
}

/// The stored sequence number of the bundle; 0 when there is none yet.
pub(super) fn bundle_sequence(connection: &Connection) -> rusqlite::Result<u64> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'bundle_sequence'", [], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Writes a page, so that a full disk or a file system gone read-only shows.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('checks', '1') \
             ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        )?
        .execute([])
        .map(|_| ())
}
