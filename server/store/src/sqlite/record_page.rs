//! Whole records, for those that follow the journal.

use std::{path::Path, sync::Arc};

use hallmark_state::{
    Record, Transaction,
    journal::encoding::{self, MissingBody},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{apply, journal_row::corrupt, unread};
use crate::StoreError;

/// The records after `revision`, in order: at most `limit`.
///
/// # Errors
/// [`StoreError::Cut`] where a record after `revision` is not whole any more, or never was; or the journal cannot be read.
pub(super) fn after(
    path: &Path,
    connection: &Connection,
    revision: u64,
    limit: u32,
) -> Result<Vec<Record>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    // One view of the file: what is cut meanwhile is not missed.
    let view = connection.unchecked_transaction().map_err(at)?;
    let begins = whole_after(path, &view)?;
    if revision < begins {
        return Err(StoreError::Cut {
            after: revision,
            begins,
        });
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rows = view
        .prepare_cached("SELECT revision, first_event, payload FROM journal WHERE revision > ?1 ORDER BY revision")
        .map_err(at)?;
    let mut rows = rows.query(params![revision]).map_err(at)?;
    let mut records = Vec::new();
    while records.len() < limit
        && let Some(row) = rows.next().map_err(at)?
    {
        let damaged = |e: rusqlite::Error| unread::of_row(path, ("journal", 1), row, &e);
        let (last, first_event) = (row.get(0).map_err(damaged)?, row.get(1).map_err(damaged)?);
        let payload = row.get_ref(2).and_then(|payload| Ok(payload.as_blob()?));
        let payload = payload.map_err(damaged)?;
        let transactions = whole(path, &view, last, payload)?;
        let of_row = of_row(last, first_event, transactions);
        records.extend(of_row.filter(|record| record.revision > revision));
    }
    records.truncate(limit);
    Ok(records)
}

/// The transactions of the row `revision`, with their changes.
///
/// # Errors
/// When they are not what was written, or a body is missing.
fn whole(path: &Path, connection: &Connection, revision: u64, payload: &[u8]) -> Result<Vec<Transaction>, StoreError> {
    let (transactions, missing) = readable(path, connection, revision, payload)?;
    match missing.first() {
        Some(missing) => Err(corrupt(path, revision, &format!("the body {missing}"))),
        None => Ok(transactions),
    }
}

/// The transactions of the row `revision`, with those of their changes whose bodies are there.
///
/// # Errors
/// When they are not what was written.
pub(super) fn readable(
    path: &Path,
    connection: &Connection,
    revision: u64,
    payload: &[u8],
) -> Result<(Vec<Transaction>, Vec<MissingBody>), StoreError> {
    let mut failed = None;
    let mut body = |sha256: &[u8; 32]| match body(connection, sha256) {
        Ok(body) => body,
        Err(error) => {
            failed = Some(error);
            None
        }
    };
    let decoded = encoding::decode_readable(payload, &mut body);
    if let Some(error) = failed {
        return Err(unread::of_key(path, "bodies", "of the journal", &error));
    }
    decoded.map_err(|error| corrupt(path, revision, &error.to_string()))
}

fn body(connection: &Connection, sha256: &[u8; 32]) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT body FROM bodies WHERE sha256 = ?1")?;
    statement.query_row(params![sha256], |row| row.get(0)).optional()
}

/// The records of a row, whose last one is `last`.
fn of_row(last: u64, first_event: u64, transactions: Vec<Transaction>) -> impl Iterator<Item = Record> {
    let count = u64::try_from(transactions.len()).unwrap_or(u64::MAX);
    let (mut revision, mut event) = (last.saturating_sub(count), first_event);
    transactions.into_iter().map(move |transaction| {
        revision = revision.saturating_add(1);
        let first_event = event;
        event = event.saturating_add(u64::try_from(transaction.events.len()).unwrap_or(u64::MAX));
        Record {
            revision,
            first_event,
            transaction: Arc::new(transaction),
        }
    })
}

/// The last record whose changes are not in the journal.
pub(super) fn whole_after(path: &Path, connection: &Connection) -> Result<u64, StoreError> {
    Ok(apply::meta(path, connection, "whole_after", |text| text.parse().ok())?.unwrap_or_default())
}

/// From here on records are whole.
pub(super) fn begin_after_last(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (key, value) \
               SELECT 'whole_after', CAST(coalesce(max(revision), 0) AS TEXT) FROM journal";
    connection.execute(sql, []).map(drop)
}
