//! The whole journal, and the tables that are to say the same.

use std::{collections::BTreeMap, path::Path};

use hallmark_spiffe::TrustDomain;
use hallmark_state::Record;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    fold::Fold,
    journal_row::{self, Head, Read, Row, corrupt, is_indexed, row_of_event, walk},
    json, migrations,
    record_page::whole_after,
    tables, unread,
};
use crate::StoreError;

/// So many differences are named; the rest is counted.
const NAMED: usize = 100;

/// A journal whose rows follow each other, and how the tables beside it stand to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifiedJournal {
    /// The rows.
    pub rows: u64,
    /// The number of the last record; 0 without one.
    pub revision: u64,
    /// The chain hash of the last row: SHA-256 over all before it; zeros without one.
    pub chain: [u8; 32],
    /// How many rows of the state are what the journal says.
    pub checked: u64,
    /// How many rows of the state the journal says nothing of: they are older than its changes.
    pub unchecked: u64,
    /// Records up to this one have no changes.
    pub whole_after: u64,
    /// What is not as the journal says, and what does not read back: the first ones.
    pub differences: Vec<StoreError>,
    /// How many more of them there are.
    pub more_differences: u64,
    /// Entries that grant nothing, by id, and why: what is stored does not read back, or breaks a rule.
    pub left_out: BTreeMap<String, String>,
}

impl VerifiedJournal {
    /// Notes something that is not as it has to be.
    pub(super) fn differs(&mut self, error: StoreError) {
        if self.differences.len() < NAMED {
            self.differences.push(error);
        } else {
            self.more_differences = self.more_differences.saturating_add(1);
        }
    }

    /// Notes what does not read back, which keeps nobody from looking at the rest; `None` then.
    pub(super) fn told<T>(&mut self, found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match found {
            Err(error @ StoreError::Undecodable { .. }) => {
                if !self.differences.contains(&error) {
                    self.differs(error);
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    pub(super) fn apart(&mut self, what: String, revision: u64, how: String) {
        self.differs(StoreError::Apart { what, revision, how });
    }
}

/// Checks every row of the journal against the one before, from the first on; what is computed from its rows; and the tables
/// of the state.
///
/// # Errors
/// When the store cannot be read, or a row of the journal is not what was written.
pub(super) fn verify(
    path: &Path,
    connection: &Connection,
    trust_domain: &TrustDomain,
) -> Result<VerifiedJournal, StoreError> {
    migrations::require_schema(path, connection)?;
    let mut verified = VerifiedJournal::default();
    verified.told(Head::read(path, connection))?;
    // Where it does not read back, nobody knows from where on changes stand in the journal.
    verified.whole_after = verified.told(whole_after(path, connection))?.unwrap_or(u64::MAX);
    let mut fold = Fold::of(verified.whole_after == 0);
    let (mut head, mut indexed) = (None, 0_u64);
    let last = walk(path, connection, Read::Whole, 0, None, |row, transactions, missing| {
        verified.rows += 1;
        let head = head.get_or_insert_with(|| Head::before(row, transactions.len()));
        let records: Vec<_> = transactions.into_iter().map(|it| head.push(it)).collect();
        let mut of_before = records.iter().filter(|record| record.revision <= verified.whole_after);
        if verified.whole_after < u64::MAX && of_before.any(|record| !record.transaction.changes.is_empty()) {
            let how = format!(
                "expected a value below {}, whose record has changes, found {}",
                row.revision, verified.whole_after
            );
            verified.apart(unread::row_of("meta", "whole_after"), row.revision, how);
        }
        let compared = columns(path, connection, head, &records, row, &mut verified);
        verified.told(compared)?;
        let found = index(path, connection, row, &records, &mut verified);
        indexed = indexed.saturating_add(verified.told(found)?.unwrap_or_default());
        let mut whole = records.iter().filter(|record| record.revision > verified.whole_after);
        whole.try_for_each(|record| fold.take(record))?;
        for body in missing {
            fold.forget("policy_files", &format!("{} {}", body.kind, body.name));
            verified.differs(StoreError::Undecodable {
                what: unread::row_of("bodies", json::hex(&body.sha256)),
                reason: format!("record {}: the body {body}", row.revision),
            });
        }
        Ok(())
    })?;
    let found = surplus(path, connection, indexed, &mut verified);
    verified.told(found)?;
    if let Some(head) = &head {
        let found = settled(path, connection, head, &mut verified);
        verified.told(found)?;
    }
    if let Some(last) = last {
        verified.revision = last.revision;
        let chain = last.chain.try_into();
        verified.chain = chain.map_err(|_| corrupt(path, last.revision, "its chain hash has not 32 bytes"))?;
    }
    pages(path, connection, &mut verified)?;
    tables::compare(path, connection, trust_domain, fold, &mut verified)?;
    Ok(verified)
}

/// What SQLite's own check finds: indexes that leave rows out, pages that are not what they should be.
fn pages(path: &Path, connection: &Connection, verified: &mut VerifiedJournal) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut check = connection.prepare("PRAGMA integrity_check").map_err(at)?;
    let mut rows = check.query([]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let reason: String = row.get(0).map_err(at)?;
        if reason != "ok" {
            verified.differs(StoreError::Corrupt {
                path: path.into(),
                reason,
            });
        }
    }
    Ok(())
}

/// What the columns of a row of the journal are to be.
fn columns(
    path: &Path,
    connection: &Connection,
    head: &Head,
    records: &[Record],
    row: &Row,
    verified: &mut VerifiedJournal,
) -> Result<(), StoreError> {
    let damaged = |e: rusqlite::Error| unread::of_key(path, "journal", row.revision, &e);
    let expected = head.columns(records);
    let found = connection
        .prepare_cached("SELECT at, kinds, totals FROM journal WHERE revision = ?1")
        .and_then(|mut statement| {
            statement.query_row([row.revision], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
            })
        })
        .map_err(damaged)?;
    for (name, expected, found) in [
        ("at", expected.at.to_string(), found.0.to_string()),
        ("kinds", expected.kinds.to_string(), found.1.to_string()),
        ("totals", expected.totals, found.2),
    ] {
        if expected != found {
            let what = format!("the column {name} of {}", unread::row_of("journal", row.revision));
            verified.apart(what, row.revision, format!("expected {expected}, found {found}"));
        }
    }
    Ok(())
}

/// The events of a row that are found by their subject; how many there are to be.
fn index(
    path: &Path,
    connection: &Connection,
    row: &Row,
    records: &[Record],
    verified: &mut VerifiedJournal,
) -> Result<u64, StoreError> {
    let at = |e: rusqlite::Error| unread::of_key(path, "event_subjects", row.revision, &e);
    let mut find = connection
        .prepare_cached("SELECT revision FROM event_subjects WHERE subject = ?1 AND sequence = ?2")
        .map_err(at)?;
    let mut count = 0_u64;
    for record in records {
        for (number, event) in (record.first_event..).zip(&record.transaction.events) {
            if !is_indexed(event) {
                continue;
            }
            count = count.saturating_add(1);
            let found: Option<i64> = find
                .query_row(params![&*event.subject, number], |row| row.get(0))
                .optional()
                .map_err(at)?;
            if found.and_then(|found| u64::try_from(found).ok()) != Some(row.revision) {
                let key = format!("{} {number}", event.subject);
                let found = found.map_or_else(|| "no row".to_owned(), |found| found.to_string());
                verified.apart(
                    unread::row_of("event_subjects", key),
                    record.revision,
                    format!("expected the revision {}, found {found}", row.revision),
                );
            }
        }
    }
    Ok(count)
}

/// Rows by which an event would be found that the journal does not have.
fn surplus(
    path: &Path,
    connection: &Connection,
    expected: u64,
    verified: &mut VerifiedJournal,
) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| unread::of_key(path, "event_subjects", "of an event", &e);
    let count = connection.query_row("SELECT count(*) FROM event_subjects", [], |row| row.get::<_, u64>(0));
    let mut left = count.map_err(at)?.saturating_sub(expected);
    if left == 0 {
        return Ok(());
    }
    let mut rows = connection
        .prepare("SELECT subject, sequence FROM event_subjects")
        .map_err(at)?;
    let mut rows = rows.query([]).map_err(at)?;
    while left > 0
        && let Some(row) = rows.next().map_err(at)?
    {
        let (subject, event): (String, u64) = (row.get(0).map_err(at)?, row.get(1).map_err(at)?);
        let revision = row_of_event(connection, event).map_err(at)?;
        if !journal_row::is_about(path, connection, revision, event, &subject)? {
            left -= 1;
            let key = format!("{subject} {event}");
            let how = "expected no row: the journal has no such event".to_owned();
            verified.apart(unread::row_of("event_subjects", key), revision, how);
        }
    }
    Ok(())
}

/// The mark up to which no intent is open: a start settles what is open after it.
fn settled(
    path: &Path,
    connection: &Connection,
    head: &Head,
    verified: &mut VerifiedJournal,
) -> Result<(), StoreError> {
    let settled = super::apply::meta(path, connection, "settled_event", |text| text.parse::<u64>().ok())?;
    let first = head.open().first().map(|(first, _)| *first);
    if let (Some(settled), Some(first)) = (settled, first)
        && settled > first
    {
        let how = format!("expected {first} at most, the first intent without an outcome; found {settled}");
        verified.apart(unread::row_of("meta", "settled_event"), head.revision, how);
    }
    Ok(())
}
