//! Rows of `records`, `pending_intents` and `totals`.

use std::time::SystemTime;

use hallmark_spiffe::x509::SerialHex;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde::Serialize;

use crate::{
    INTERRUPTED, Outcome, Record, RecordKind, RecordRange, StoreError, StoredRecord, SvidIntents, SvidOutcome,
};

const INSERT: &str = "INSERT INTO records (at, kind, subject, outcome, code, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Appends one record and counts it; gives its sequence number.
pub(super) fn append(connection: &Connection, record: &Record) -> rusqlite::Result<i64> {
    connection.prepare_cached(INSERT)?.execute(params![
        record.at,
        record.kind.number(),
        record.subject,
        record.outcome.number(),
        record.code,
        record.detail
    ])?;
    let sequence = connection.last_insert_rowid();
    count(connection, record.kind, record.outcome, 1)?;
    Ok(sequence)
}

#[derive(Serialize)]
struct IntentDetail<'a> {
    serial: Hex,
    expires_at: i64,
    entry: &'a str,
    holder: &'a str,
}

struct Hex(u128);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&SerialHex(&self.0.to_be_bytes()))
    }
}

/// Appends one record per SVID, and one mark that their outcome is open.
pub(super) fn append_intents(connection: &Connection, intents: &SvidIntents) -> rusqlite::Result<Option<RecordRange>> {
    let mut range: Option<RecordRange> = None;
    let mut insert = connection.prepare_cached(INSERT)?;
    let mut detail = Vec::with_capacity(256);
    for svid in &intents.svids {
        detail.clear();
        let fields = IntentDetail {
            serial: Hex(svid.serial),
            expires_at: svid.expires_at,
            entry: &svid.entry,
            holder: &intents.holder,
        };
        serde_json::to_writer(&mut detail, &fields)
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        insert.execute(params![
            intents.at,
            RecordKind::SvidIntent.number(),
            svid.subject,
            Outcome::Pending.number(),
            "",
            String::from_utf8_lossy(&detail)
        ])?;
        let last = connection.last_insert_rowid();
        range = Some(RecordRange {
            first: range.map_or(last, |r| r.first),
            last,
        });
    }
    if let Some(range) = range {
        connection
            .prepare_cached("INSERT INTO pending_intents (first, last) VALUES (?1, ?2)")?
            .execute(params![range.first, range.last])?;
    }
    Ok(range)
}

/// Appends what became of intents, and takes their mark away.
pub(super) fn append_outcome(connection: &Connection, outcome: &SvidOutcome) -> rusqlite::Result<i64> {
    let RecordRange { first, last } = outcome.intents;
    connection.prepare_cached(INSERT)?.execute(params![
        outcome.at,
        RecordKind::SvidOutcome.number(),
        "",
        outcome.outcome.number(),
        outcome.code,
        format!("{{\"first\":{first},\"last\":{last}}}")
    ])?;
    let sequence = connection.last_insert_rowid();
    let settled = connection
        .prepare_cached("DELETE FROM pending_intents WHERE first = ?1 AND last = ?2")?
        .execute(params![first, last])?;
    if settled == 0 {
        // Told twice, or about intents that were never recorded.
        return Err(rusqlite::Error::StatementChangedRows(0));
    }
    count(
        connection,
        RecordKind::SvidOutcome,
        outcome.outcome,
        last.saturating_sub(first).saturating_add(1),
    )?;
    Ok(sequence)
}

fn count(connection: &Connection, kind: RecordKind, outcome: Outcome, more: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO totals (kind, outcome, count) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )?
        .execute(params![kind.number(), outcome.number(), more])
        .map(|_| ())
}

/// Settles the intents that a stopped server left open; gives the number of SVIDs.
pub(super) fn settle_interrupted(connection: &mut Connection) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let open: Vec<RecordRange> = transaction
        .prepare("SELECT first, last FROM pending_intents ORDER BY first")?
        .query_map([], |row| {
            Ok(RecordRange {
                first: row.get(0)?,
                last: row.get(1)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_secs()).ok())
        .unwrap_or_default();
    let mut svids = 0;
    for intents in open {
        let code = INTERRUPTED.as_str().to_owned();
        append_outcome(
            &transaction,
            &SvidOutcome {
                at,
                intents,
                outcome: Outcome::Interrupted,
                code,
            },
        )?;
        svids += u64::try_from(intents.last - intents.first + 1).unwrap_or_default();
    }
    transaction.commit()?;
    Ok(svids)
}

/// The columns of a record, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "sequence, at, kind, subject, outcome, code, detail";

/// A row of `records` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<StoredRecord, StoreError>> {
    let sequence: i64 = row.get(0)?;
    let (kind, outcome): (i64, i64) = (row.get(2)?, row.get(4)?);
    let (Some(kind), Some(outcome)) = (RecordKind::from_number(kind), Outcome::from_number(outcome)) else {
        let reason = format!("kind {kind}, outcome {outcome}");
        return Ok(Err(StoreError::Undecodable {
            what: format!("record {sequence}"),
            reason,
        }));
    };
    let record = Record {
        at: row.get(1)?,
        kind,
        subject: row.get(3)?,
        outcome,
        code: row.get(5)?,
        detail: row.get(6)?,
    };
    Ok(Ok(StoredRecord { sequence, record }))
}
