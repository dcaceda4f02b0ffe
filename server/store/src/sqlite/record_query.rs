//! Events, as operators ask for them.

use std::path::Path;

use hallmark_state::{RecordFilter, RecordKind, RecordQuery, StoredRecord};
use rusqlite::{Connection, Row, params};

use super::{
    journal_row::{self, COLUMNS, row_of_event},
    time_runs::TimeRuns,
    unread,
};
use crate::StoreError;

/// The events that `query` asks for.
///
/// # Errors
/// When the store cannot be read; where a row of the journal does not read back, with the events that come before it.
pub(super) fn records(
    path: &Path,
    connection: &Connection,
    query: &RecordQuery,
) -> Result<Vec<StoredRecord>, StoreError> {
    let at = |e: rusqlite::Error| unread::of_journal(path, &e);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let mut statement = connection.prepare_cached(&sql(query)).map_err(at)?;
    let subject = query.subject.as_deref().unwrap_or_default();
    for (first, last) in ranges(connection, query).map_err(at)? {
        let mut rows = statement.query(params![first, last, subject]).map_err(at)?;
        while let Some(row) = rows.next().map_err(at)? {
            let mut events = match events(path, connection, row, query) {
                Err(StoreError::JournalRow {
                    row,
                    first,
                    last,
                    reason,
                    ..
                }) => {
                    return Err(StoreError::JournalRow {
                        row,
                        first,
                        last,
                        reason,
                        before: found,
                    });
                }
                other => other?,
            };
            if query.newest_first {
                events.reverse();
            }
            found.extend(events);
            if found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn sql(query: &RecordQuery) -> String {
    let order = if query.newest_first { "DESC" } else { "ASC" };
    if let (true, Some(_)) = (has_index(query.filter), &query.subject) {
        return format!(
            "SELECT {COLUMNS} FROM journal WHERE revision IN \
             (SELECT revision FROM event_subjects WHERE subject = ?3) AND revision BETWEEN ?1 AND ?2 ORDER BY revision {order}"
        );
    }
    // Spelt so that a query for verdicts, acts or installations can use its partial index.
    let kinds = match query.filter {
        RecordFilter::Verdicts => " AND kinds & 18 <> 0 AND kinds & 2 <> 0",
        RecordFilter::Admin => " AND kinds & 18 <> 0 AND kinds & 16 <> 0",
        RecordFilter::Provision => " AND kinds & 32 <> 0",
        RecordFilter::Svids => " AND kinds & 12 <> 0",
        _ => "",
    };
    format!(
        "SELECT {COLUMNS} FROM journal WHERE revision BETWEEN ?1 AND ?2 AND ?3 = ?3{kinds} \
         ORDER BY revision {order}"
    )
}

/// The events of a row that are asked for.
fn events(
    path: &Path,
    connection: &Connection,
    row: &Row<'_>,
    query: &RecordQuery,
) -> Result<Vec<StoredRecord>, StoreError> {
    let damaged = |e: rusqlite::Error| unread::of_row(path, ("journal", 1), row, &e);
    let now = journal_row::Row::read(row).map_err(damaged)?;
    let payload = row.get_ref("payload").map_err(damaged)?;
    let transactions = match payload.as_blob() {
        Ok(payload) => journal_row::events_of(connection, &now, payload).map_err(|e| unread::of_journal(path, &e))?,
        Err(error) => Err(error.to_string()),
    };
    let transactions = transactions.map_err(|reason| StoreError::JournalRow {
        row: now.revision,
        first: now.first_event,
        last: now.first_event.saturating_add(now.events).saturating_sub(1),
        reason,
        before: Vec::new(),
    })?;
    let (mut events, mut number) = (Vec::new(), now.first_event);
    for transaction in transactions {
        events.extend(transaction.readable(number).filter(|event| is_wanted(query, event)));
        number = number.saturating_add(u64::try_from(transaction.events.len()).unwrap_or(u64::MAX));
    }
    Ok(events)
}

/// The rows between which the events stand, in the order of the query: found by halving, so that a query over the last hour
/// does not read the journal of years. There are several ranges where the clock was set back.
fn ranges(connection: &Connection, query: &RecordQuery) -> rusqlite::Result<Vec<(i64, i64)>> {
    let first = match query.newest_first {
        true => 0,
        false => row_of_event(connection, query.after.saturating_add(1))?,
    };
    let last = match (query.newest_first, query.after) {
        (true, 1..) => row_of_event(connection, query.after.saturating_sub(1))?,
        _ => u64::MAX,
    };
    let by_time = match (query.since, query.until) {
        (..=0, ..=0) => vec![(0, u64::MAX)],
        (since, until) => TimeRuns::read(connection)?.rows(connection, since, until)?,
    };
    let number = |row: u64| i64::try_from(row).unwrap_or(i64::MAX);
    let both = by_time.into_iter().map(|(from, to)| (from.max(first), to.min(last)));
    let mut ranges: Vec<_> = both
        .filter(|(from, to)| from <= to)
        .map(|(from, to)| (number(from), number(to)))
        .collect();
    if query.newest_first {
        ranges.reverse();
    }
    Ok(ranges)
}

/// Whether events of these kinds are found by their subject.
const fn has_index(filter: RecordFilter) -> bool {
    matches!(
        filter,
        RecordFilter::Verdicts | RecordFilter::Admin | RecordFilter::Provision
    )
}

fn is_wanted(query: &RecordQuery, event: &StoredRecord) -> bool {
    let record = &event.record;
    let kind = match query.filter {
        RecordFilter::Verdicts => record.kind == RecordKind::Verdict,
        RecordFilter::Admin => record.kind == RecordKind::Admin,
        RecordFilter::Provision => record.kind == RecordKind::Provision,
        RecordFilter::Svids => matches!(record.kind, RecordKind::SvidIntent | RecordKind::SvidOutcome),
        _ => true,
    };
    let place = match (query.newest_first, query.after) {
        (false, after) => event.sequence > after,
        (true, 0) => true,
        (true, before) => event.sequence < before,
    };
    kind && place
        && query.subject.as_ref().is_none_or(|subject| record.subject == *subject)
        && (query.since == 0 || record.at >= query.since)
        && (query.until == 0 || record.at < query.until)
}
