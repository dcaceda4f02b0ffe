//! Records from before the journal: they become its first events, with their numbers.

use std::path::Path;

use hallmark_state::{Event, Expect, Outcome, RecordKind, Transaction, What};
use rusqlite::{Connection, Row};
use serde::Deserialize;

use super::journal_row::Head;
use crate::StoreError;

/// Records in one row of the journal.
const GROUP: usize = 256;

/// An intent's details, as they were kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    serial: String,
    expires_at: i64,
    entry: String,
    holder: String,
}

/// An outcome's details, as they were kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settled {
    first: u64,
    last: u64,
}

/// A record, as it was kept.
struct Older {
    sequence: u64,
    at: i64,
    kind: RecordKind,
    subject: String,
    outcome: Outcome,
    code: String,
    detail: String,
}

/// Moves them, within the migration's transaction.
pub(super) fn import(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut head = Head::open_at(path, connection)?;
    {
        let mut statement = connection
            .prepare("SELECT sequence, at, kind, subject, outcome, code, detail FROM records ORDER BY sequence")
            .map_err(at)?;
        let mut rows = statement.query([]).map_err(at)?;
        let mut group = Vec::with_capacity(GROUP);
        while let Some(row) = rows.next().map_err(at)? {
            let record = read(row).map_err(at)??;
            head.skip_to(
                record.sequence,
                &record.undecodable("records before it are missing, or it is there twice"),
            )?;
            let are_open = |first, last| head.are_open(first, last);
            group.push(head.push(transaction(record, are_open)));
            if group.len() == GROUP {
                head.write(connection, &group).map_err(at)?;
                group.clear();
            }
        }
        head.write(connection, &group).map_err(at)?;
    }
    connection
        .execute_batch("DROP TABLE pending_intents; DROP TABLE records; DROP TABLE totals;")
        .map_err(at)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Older, StoreError>> {
    let sequence = row.get(0)?;
    let (kind, outcome): (i64, i64) = (row.get(2)?, row.get(4)?);
    let (Some(kind), Some(outcome)) = (RecordKind::from_number(kind), Outcome::from_number(outcome)) else {
        return Ok(Err(StoreError::Undecodable {
            what: format!("record {sequence}"),
            reason: format!("kind {kind}, outcome {outcome}"),
        }));
    };
    Ok(Ok(Older {
        sequence,
        at: row.get(1)?,
        kind,
        subject: row.get(3)?,
        outcome,
        code: row.get(5)?,
        detail: row.get(6)?,
    }))
}

impl Older {
    fn undecodable(&self, reason: &str) -> StoreError {
        StoreError::Undecodable {
            what: format!("record {}", self.sequence),
            reason: reason.to_owned(),
        }
    }
}

/// A record as a transaction of its own. Intents and outcomes are what they are today; others keep their details as they are.
fn transaction(record: Older, are_open: impl Fn(u64, u64) -> bool) -> Transaction {
    let (mut actor, mut what) = (String::new(), None);
    if record.kind == RecordKind::SvidIntent
        && let Ok(intent) = serde_json::from_str::<Intent>(&record.detail)
        && let Ok(serial) = u128::from_str_radix(&intent.serial, 16)
    {
        actor = intent.holder;
        what = Some(What::SvidIntent {
            serial,
            expires_at: intent.expires_at,
            entry: intent.entry.into(),
            holder: None,
        });
    }
    if record.kind == RecordKind::SvidOutcome
        && let Ok(Settled { first, last }) = serde_json::from_str(&record.detail)
        && are_open(first, last)
    {
        what = Some(What::SvidOutcome { first, last });
    }
    let older = || What::Older {
        kind: record.kind,
        at: record.at,
        detail: record.detail.clone(),
    };
    let event = |what| Event {
        subject: record.subject.as_str().into(),
        outcome: record.outcome,
        code: record.code.as_str().into(),
        what,
    };
    // Whatever would read otherwise than before stays as it is.
    let what = what.filter(|what| event(what.clone()).readable(record.at, &actor).detail == record.detail);
    let mut id = [0; 16];
    if let Some(number) = id.last_chunk_mut() {
        *number = record.sequence.to_be_bytes();
    }
    Transaction {
        id,
        at: record.at,
        actor: actor.as_str().into(),
        expect: Expect::default(),
        changes: Vec::new(),
        events: vec![event(what.unwrap_or_else(older))],
    }
}
