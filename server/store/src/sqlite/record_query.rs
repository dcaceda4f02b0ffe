//! Events, as operators ask for them.

use std::path::Path;

use hallmark_state::{RecordFilter, RecordKind, RecordQuery, StoredRecord};
use rusqlite::{Connection, params};

use super::journal_row::{decode, row_of_event, row_of_time};
use crate::StoreError;

/// How far the server's clock may have been set back between two events, in seconds, for a query by time to find both.
const CLOCK_SET_BACK: i64 = 86_400;

/// The events that `query` asks for.
pub(super) fn records(
    path: &Path,
    connection: &Connection,
    query: &RecordQuery,
) -> Result<Vec<StoredRecord>, StoreError> {
    read(connection, query).map_err(|error| match &error {
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) => StoreError::Undecodable {
            what: "record of the journal".to_owned(),
            reason: reason.to_string(),
        },
        _ => StoreError::from_sqlite(path, &error),
    })
}

fn read(connection: &Connection, query: &RecordQuery) -> rusqlite::Result<Vec<StoredRecord>> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let (first, last) = rows(connection, query)?;
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let sql = if let (true, Some(_)) = (has_index(query.filter), &query.subject) {
        format!(
            "SELECT first_event, payload FROM journal WHERE revision IN \
             (SELECT revision FROM event_subjects WHERE subject = ?3) AND revision BETWEEN ?1 AND ?2 ORDER BY revision {order}"
        )
    } else {
        // Spelt so that a query for verdicts or acts can use the partial index.
        let kinds = match query.filter {
            RecordFilter::Verdicts => " AND kinds & 18 <> 0 AND kinds & 2 <> 0",
            RecordFilter::Admin => " AND kinds & 18 <> 0 AND kinds & 16 <> 0",
            RecordFilter::Svids => " AND kinds & 12 <> 0",
            _ => "",
        };
        format!(
            "SELECT first_event, payload FROM journal WHERE revision BETWEEN ?1 AND ?2 AND ?3 = ?3{kinds} \
             ORDER BY revision {order}"
        )
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let subject = query.subject.as_deref().unwrap_or_default();
    let mut rows = statement.query(params![first, last, subject])?;
    while let Some(row) = rows.next()? {
        let mut events = Vec::new();
        let mut number: u64 = row.get(0)?;
        for transaction in decode(row.get_ref(1)?.as_blob()?)? {
            events.extend(transaction.readable(number).filter(|event| is_wanted(query, event)));
            number = number.saturating_add(u64::try_from(transaction.events.len()).unwrap_or(u64::MAX));
        }
        if query.newest_first {
            events.reverse();
        }
        found.extend(events);
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(found)
}

/// The rows between which the events stand: found by halving, so that a query over the last hour does not read the journal of
/// years.
fn rows(connection: &Connection, query: &RecordQuery) -> rusqlite::Result<(u64, i64)> {
    let mut first = match query.newest_first {
        true => 0,
        false => row_of_event(connection, query.after.saturating_add(1))?,
    };
    let mut last = match (query.newest_first, query.after) {
        (true, 1..) => row_of_event(connection, query.after)?,
        _ => u64::MAX,
    };
    if query.since > 0 {
        first = first.max(row_of_time(connection, query.since.saturating_sub(CLOCK_SET_BACK))?);
    }
    if query.until > 0 {
        last = last.min(row_of_time(connection, query.until.saturating_add(CLOCK_SET_BACK))?);
    }
    Ok((first, i64::try_from(last).unwrap_or(i64::MAX)))
}

/// Whether events of these kinds are found by their subject.
const fn has_index(filter: RecordFilter) -> bool {
    matches!(filter, RecordFilter::Verdicts | RecordFilter::Admin)
}

fn is_wanted(query: &RecordQuery, event: &StoredRecord) -> bool {
    let record = &event.record;
    let kind = match query.filter {
        RecordFilter::Verdicts => record.kind == RecordKind::Verdict,
        RecordFilter::Admin => record.kind == RecordKind::Admin,
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
