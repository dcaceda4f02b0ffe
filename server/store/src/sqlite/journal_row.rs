//! Rows of `journal` and `event_subjects`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA256};
use hallmark_state::{
    Event, Outcome, Record, RecordKind, Total, Transaction, What,
    journal::encoding::{self, MissingBody},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{apply, json, record_page, time_runs::TimeRuns, unread};
use crate::StoreError;

/// How far the mark of settled intents may stay behind, in events: it is what the next start reads.
const SETTLED_STEP: u64 = 4096;

/// Where the journal stands: what the next row goes on from.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// The number of the last record.
    pub(super) revision: u64,
    /// The number of the next event.
    pub(super) next_event: u64,
    chain: Vec<u8>,
    totals: BTreeMap<(i64, i64), u64>,
    /// Intents without an outcome.
    open: BTreeSet<u64>,
    /// All intents before this event have their outcome.
    settled: u64,
    runs: TimeRuns,
}

impl Head {
    /// As the store has it, but for the intents that are open.
    pub(super) fn read(path: &Path, connection: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT revision, first_event, events, totals, chain FROM journal ORDER BY revision DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| {
            let (first, events): (u64, u64) = (row.get(1)?, row.get(2)?);
            let head = Self {
                revision: row.get(0)?,
                next_event: first.saturating_add(events),
                chain: row.get(4)?,
                ..Self::default()
            };
            Ok((head, row.get::<_, String>(3)?))
        };
        let last = connection.query_row(sql, [], read).optional();
        let mut head = match last.map_err(|e| unread::of_journal(path, &e))? {
            Some((head, totals)) => Self {
                totals: parse_totals(&totals).map_err(|e| corrupt(path, head.revision, &e.to_string()))?,
                ..head
            },
            None => Self {
                next_event: 1,
                chain: vec![0; 32],
                ..Self::default()
            },
        };
        head.settled = apply::meta(path, connection, "settled_event", |text| text.parse().ok())?.unwrap_or_default();
        head.runs = TimeRuns::read(connection).map_err(|e| unread::of_journal(path, &e))?;
        head.require_all_before_its_end(path, connection)?;
        Ok(head)
    }

    /// Nothing in the store can be of a record or event that the journal does not have yet.
    fn require_all_before_its_end(&self, path: &Path, connection: &Connection) -> Result<(), StoreError> {
        let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
        let beyond = |what: &str| {
            Err(corrupt(
                path,
                self.revision,
                &format!("{what} is beyond the end of the journal"),
            ))
        };
        if self.settled > self.next_event {
            return beyond("the mark of settled intents");
        }
        if apply::rules(path, connection)?.0 > self.revision {
            return beyond("the revision of the rules");
        }
        if record_page::whole_after(path, connection)? > self.revision {
            return beyond("the record from which on changes stand in the journal");
        }
        let sql = "SELECT max((SELECT coalesce(max(appraised_rules), 0) FROM agents), \
                   (SELECT coalesce(max(revision), 0) FROM evidence))";
        let newest: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(at)?;
        let newest = u64::try_from(newest).unwrap_or_default();
        if newest > self.revision {
            return beyond("the verdict or the evidence of a node");
        }
        Ok(())
    }

    /// As the store has it, with the intents that are open; checks the rows that those are read from, each against the one
    /// before.
    ///
    /// # Errors
    /// When the journal cannot be read, or a row is not what was written: it was changed, or one is missing.
    pub(super) fn open_at(path: &Path, connection: &Connection) -> Result<Self, StoreError> {
        let at = |e: rusqlite::Error| unread::of_journal(path, &e);
        let mut head = Self::read(path, connection)?;
        let first = row_of_event(connection, head.settled).map_err(at)?;
        let before = Row::before(connection, first).map_err(at)?;
        walk(path, connection, Read::Events, first, before, |row, transactions, _| {
            let mut number = row.first_event;
            for transaction in &transactions {
                head.note(number, transaction);
                number = number.saturating_add(count(transaction));
            }
            Ok(())
        })?;
        Ok(head)
    }

    /// Takes in a transaction whose first event has this number.
    fn note(&mut self, first: u64, transaction: &Transaction) {
        for (number, event) in (first..).zip(&transaction.events) {
            match event.what {
                What::SvidIntent { .. } | What::JwtSvidIntent { .. } => drop(self.open.insert(number)),
                What::SvidOutcome { first, last } => self.open.retain(|intent| !(first..=last).contains(intent)),
                _ => {}
            }
        }
    }

    /// Whether all of these are intents without an outcome.
    pub(super) fn are_open(&self, first: u64, last: u64) -> bool {
        let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
        let open = u64::try_from(self.open.range(first..=last.max(first)).count());
        count.is_some() && count == open.ok()
    }

    /// Older records may begin later than with 1; from then on none is missing.
    ///
    /// # Errors
    /// `gap` where one is.
    pub(super) fn skip_to(&mut self, event: u64, gap: &StoreError) -> Result<(), StoreError> {
        if self.revision == 0 {
            self.next_event = event;
        }
        if self.next_event == event {
            Ok(())
        } else {
            Err(gap.clone())
        }
    }

    /// Refuses what tells the outcome of intents that are not open: told twice, or never recorded.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    pub(super) fn require_open(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let mut told: Vec<(u64, u64)> = Vec::new();
        for event in &transaction.events {
            let What::SvidOutcome { first, last } = event.what else {
                continue;
            };
            let is_told = told.iter().any(|(from, to)| *from <= last && first <= *to);
            if is_told || !self.are_open(first, last) {
                return Err(StoreError::Missing {
                    what: format!("an open intent {first} to {last}"),
                });
            }
            told.push((first, last));
        }
        Ok(())
    }

    /// The record that the transaction becomes.
    pub(super) fn push(&mut self, transaction: Transaction) -> Record {
        let first_event = self.next_event;
        self.note(first_event, &transaction);
        self.revision = self.revision.saturating_add(1);
        self.next_event = first_event.saturating_add(count(&transaction));
        // Of an SVID its outcome counts.
        let counted = |event: &&Event| event.kind() != RecordKind::SvidIntent;
        for event in transaction.events.iter().filter(counted) {
            let total = self.totals.entry((event.kind().number(), event.outcome.number()));
            let total = total.or_default();
            *total = total.saturating_add(event.count());
        }
        Record {
            revision: self.revision,
            first_event,
            transaction: std::sync::Arc::new(transaction),
        }
    }

    /// Writes the row of a group of records, the last ones that were pushed.
    pub(super) fn write(&mut self, connection: &Connection, records: &[Record]) -> rusqlite::Result<()> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        let payload = encoding::encode(records.iter().map(|record| &*record.transaction));
        self.chain = chain_after(&self.chain, last.revision, &payload);
        let Columns { at, kinds, totals } = self.columns(records);
        connection
            .prepare_cached(
                "INSERT INTO journal (revision, first_event, events, at, kinds, totals, chain, payload) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                last.revision,
                first.first_event,
                self.next_event.saturating_sub(first.first_event),
                at,
                kinds,
                totals,
                self.chain,
                payload,
            ])?;
        for record in records {
            for (number, event) in (record.first_event..).zip(&record.transaction.events) {
                if is_indexed(event) {
                    connection
                        .prepare_cached("INSERT INTO event_subjects (subject, sequence, revision) VALUES (?1, ?2, ?3)")?
                        .execute(params![&*event.subject, number, last.revision])?;
                }
            }
        }
        let times = records.iter().flat_map(|record| {
            let decided = record.transaction.at;
            record.transaction.events.iter().map(move |event| time(event, decided))
        });
        self.runs.note(connection, last.revision, times.chain([at]))?;
        self.move_mark(connection)
    }

    /// What is computed of a group of records, the last ones that were pushed.
    pub(super) fn columns(&self, records: &[Record]) -> Columns {
        let events = records.iter().flat_map(|record| &record.transaction.events);
        let kinds = events.fold(0, |kinds, event| kinds | 1 << event.kind().number());
        let at = records.last().map_or(0, |last| {
            let event = last.transaction.events.last();
            event.map_or(last.transaction.at, |event| time(event, last.transaction.at))
        });
        Columns {
            at,
            kinds,
            totals: totals_json(&self.totals),
        }
    }

    /// As it was before the first row of a journal, which has so many transactions.
    pub(super) fn before(row: &Row, transactions: usize) -> Self {
        let transactions = u64::try_from(transactions).unwrap_or(u64::MAX);
        Self {
            revision: row.revision.saturating_sub(transactions),
            next_event: row.first_event,
            ..Self::default()
        }
    }

    /// Moves the mark of settled intents on, where it has fallen behind.
    fn move_mark(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let settled = self.open.first().copied().unwrap_or(self.next_event);
        if settled.saturating_sub(self.settled) < SETTLED_STEP {
            return Ok(());
        }
        self.settled = settled;
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('settled_event', ?1)")?
            .execute(params![settled.to_string()])
            .map(drop)
    }

    /// Intents without an outcome: the first and the last of those that follow each other.
    pub(super) fn open(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in &self.open {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        ranges
    }

    /// The chain hash of the last row; zeros without one.
    pub(super) fn chain(&self) -> Result<[u8; 32], StoreError> {
        let chain = self.chain.as_slice().try_into();
        chain.map_err(|_| StoreError::Undecodable {
            what: format!("row {} of the journal", self.revision),
            reason: format!("a chain hash of {} bytes", self.chain.len()),
        })
    }

    /// Counts of events.
    pub(super) fn totals(&self) -> Vec<Total> {
        let total = |((kind, outcome), count): (&(i64, i64), &u64)| {
            Some(Total {
                kind: RecordKind::from_number(*kind)?,
                outcome: Outcome::from_number(*outcome)?,
                count: *count,
            })
        };
        self.totals.iter().filter_map(total).collect()
    }
}

/// What is computed of the records of a row, so that it is found.
pub(super) struct Columns {
    pub(super) at: i64,
    pub(super) kinds: i64,
    pub(super) totals: String,
}

pub(super) const COLUMNS: &str = "revision, first_event, events, chain, payload";

/// A row, but for its payload.
pub(super) struct Row {
    pub(super) revision: u64,
    pub(super) first_event: u64,
    pub(super) events: u64,
    pub(super) chain: Vec<u8>,
}

impl Row {
    /// The last row before the one with this revision.
    fn before(connection: &Connection, revision: u64) -> rusqlite::Result<Option<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM journal WHERE revision < ?1 ORDER BY revision DESC LIMIT 1");
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row(params![revision], Self::read).optional()
    }

    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            revision: row.get(0)?,
            first_event: row.get(1)?,
            events: row.get(2)?,
            chain: row.get(3)?,
        })
    }

    /// Whether the row is what was written behind `before`, with these transactions.
    fn follows(&self, before: &Option<Self>, transactions: &[Transaction], payload: &[u8]) -> Result<(), &'static str> {
        let transactions_before = self
            .revision
            .checked_sub(u64::try_from(transactions.len()).unwrap_or(u64::MAX));
        let (revision, event, chain) = before.as_ref().map_or((0, None, &[0; 32][..]), |before| {
            (
                before.revision,
                Some(before.first_event.saturating_add(before.events)),
                &*before.chain,
            )
        });
        // Records from before the journal may begin later than with event 1.
        if transactions_before != Some(revision) || event.is_some_and(|event| event != self.first_event) {
            return Err("rows before it are missing");
        }
        if transactions.iter().map(count).sum::<u64>() != self.events {
            return Err("it does not have as many events as it says");
        }
        if self.chain != chain_after(chain, self.revision, payload) {
            return Err("its chain hash is another one");
        }
        Ok(())
    }
}

/// What is read of a row.
#[derive(Clone, Copy)]
pub(super) enum Read {
    /// All of it, with the bodies that are a part of the state; those that are missing are told.
    Whole,
    /// Its events.
    Events,
}

/// Goes through the rows from the one with the revision `first` on, and checks each against the one before.
pub(super) fn walk(
    path: &Path,
    connection: &Connection,
    read: Read,
    first: u64,
    mut before: Option<Row>,
    mut each: impl FnMut(&Row, Vec<Transaction>, Vec<MissingBody>) -> Result<(), StoreError>,
) -> Result<Option<Row>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut rows = connection
        .prepare(&format!(
            "SELECT {COLUMNS} FROM journal WHERE revision >= ?1 ORDER BY revision"
        ))
        .map_err(at)?;
    let mut rows = rows.query(params![first]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let damaged = |e: rusqlite::Error| unread::of_row(path, ("journal", 1), row, &e);
        let now = Row::read(row).map_err(damaged)?;
        let payload = row.get_ref("payload").map_err(damaged)?;
        let payload = payload
            .as_blob()
            .map_err(|e| corrupt(path, now.revision, &e.to_string()))?;
        let (transactions, missing) = match read {
            Read::Whole => record_page::readable(path, connection, now.revision, payload)?,
            Read::Events => {
                let events = encoding::decode_events(payload);
                (
                    events.map_err(|e| corrupt(path, now.revision, &e.to_string()))?,
                    Vec::new(),
                )
            }
        };
        now.follows(&before, &transactions, payload)
            .map_err(|reason| corrupt(path, now.revision, reason))?;
        each(&now, transactions, missing)?;
        before = Some(now);
    }
    Ok(before)
}

/// The events of one row, held to all that [`walk`] holds it to.
///
/// # Errors
/// What is wrong with the row; or the store cannot be read.
pub(super) fn events_of(
    connection: &Connection,
    now: &Row,
    payload: &[u8],
) -> rusqlite::Result<Result<Vec<Transaction>, String>> {
    let before = Row::before(connection, now.revision)?;
    let transactions = encoding::decode_events(payload).map_err(|error| error.to_string());
    Ok(transactions.and_then(|transactions| {
        now.follows(&before, &transactions, payload)?;
        Ok(transactions)
    }))
}

/// The chain hash of a row.
fn chain_after(chain: &[u8], revision: u64, payload: &[u8]) -> Vec<u8> {
    let mut next = Context::new(&SHA256);
    next.update(chain);
    next.update(&revision.to_be_bytes());
    next.update(payload);
    next.finish().as_ref().to_vec()
}

fn count(transaction: &Transaction) -> u64 {
    u64::try_from(transaction.events.len()).unwrap_or(u64::MAX)
}

/// When an event happened, of a transaction that was decided at `at`.
pub(super) const fn time(event: &Event, at: i64) -> i64 {
    match &event.what {
        What::Older { at, .. } => *at,
        _ => at,
    }
}

pub(super) fn is_indexed(event: &Event) -> bool {
    matches!(
        event.kind(),
        RecordKind::Verdict | RecordKind::Admin | RecordKind::Provision
    )
}

fn totals_json(totals: &BTreeMap<(i64, i64), u64>) -> String {
    let rows: Vec<_> = totals
        .iter()
        .map(|((kind, outcome), count)| (kind, outcome, count))
        .collect();
    // Numbers always have a JSON form.
    serde_json::to_string(&rows).unwrap_or_default()
}

fn parse_totals(json: &str) -> serde_json::Result<BTreeMap<(i64, i64), u64>> {
    let rows: Vec<(i64, i64, u64)> = serde_json::from_str(json)?;
    let rows = rows.into_iter();
    Ok(rows.map(|(kind, outcome, count)| ((kind, outcome), count)).collect())
}

pub(super) fn corrupt(path: &Path, revision: u64, reason: &str) -> StoreError {
    StoreError::Corrupt {
        path: path.into(),
        reason: format!("row {revision} of the journal: {reason}"),
    }
}

/// The record after `after` that the transaction with this id became, if it is in the journal.
pub(super) fn revision_of(
    path: &Path,
    connection: &Connection,
    id: &[u8; 16],
    after: u64,
) -> Result<Option<u64>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut rows = connection
        .prepare_cached("SELECT revision, payload FROM journal WHERE revision > ?1 ORDER BY revision")
        .map_err(at)?;
    let mut rows = rows.query(params![after]).map_err(at)?;
    while let Some(row) = rows.next().map_err(at)? {
        let damaged = |e: rusqlite::Error| unread::of_row(path, ("journal", 1), row, &e);
        let last: u64 = row.get(0).map_err(damaged)?;
        let payload = row.get_ref(1).and_then(|payload| Ok(payload.as_blob()?));
        let payload = payload.map_err(damaged)?;
        let transactions = encoding::decode_events(payload).map_err(|e| corrupt(path, last, &e.to_string()))?;
        let place = (0..).zip(transactions.iter().rev()).find(|(_, it)| it.id == *id);
        if let Some((behind, _)) = place {
            return Ok(Some(last.saturating_sub(behind)));
        }
    }
    Ok(None)
}

/// Whether the row `revision` has an event with this number that is found by this subject.
pub(super) fn is_about(
    path: &Path,
    connection: &Connection,
    revision: u64,
    event: u64,
    subject: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT first_event, payload FROM journal WHERE revision = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?));
    let found = connection.query_row(sql, [revision], read).optional();
    let Some((first, payload)) = found.map_err(|e| unread::of_key(path, "journal", revision, &e))? else {
        return Ok(false);
    };
    let transactions = encoding::decode_events(&payload).map_err(|e| corrupt(path, revision, &e.to_string()))?;
    let events = transactions.iter().flat_map(|transaction| &transaction.events);
    let mut numbered = (first..).zip(events);
    Ok(numbered.any(|(number, it)| number == event && is_indexed(it) && &*it.subject == subject))
}

/// The first row of the journal whose last event is `event` or a later one: its revision.
pub(super) fn row_of_event(connection: &Connection, event: u64) -> rusqlite::Result<u64> {
    first_row(connection, "first_event + events > ?2", event)
}

/// The first row for which `holds`, found by halving: it holds for all rows after one for which it does. Where it holds for
/// none, a revision beyond the last.
fn first_row(connection: &Connection, holds: &str, value: u64) -> rusqlite::Result<u64> {
    let last: Option<u64> = connection
        .prepare_cached("SELECT max(revision) FROM journal")?
        .query_row([], |row| row.get(0))?;
    let sql = format!("SELECT {holds} FROM journal WHERE revision >= ?1 ORDER BY revision LIMIT 1");
    let mut at = connection.prepare_cached(&sql)?;
    let (mut low, mut high) = (0, last.unwrap_or(0).saturating_add(1));
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        let holds: Option<bool> = at.query_row(params![middle, value], |row| row.get(0)).optional()?;
        match holds {
            Some(false) => low = middle + 1,
            _ => high = middle,
        }
    }
    // Not every number is a row's: a group has one row, under the number of its last record.
    let row: Option<u64> = connection
        .prepare_cached("SELECT min(revision) FROM journal WHERE revision >= ?1")?
        .query_row([low], |row| row.get(0))?;
    Ok(row.unwrap_or(low))
}

/// Requests of administrators as `[["administrator","agent",issued at,asked at],…]`.
pub(super) fn requests_json(requests: &[hallmark_state::FirstRequest]) -> String {
    let rows: Vec<_> = requests
        .iter()
        .map(|it| (it.id.as_str(), it.agent.as_str(), it.issued_at, it.at))
        .collect();
    // Texts and numbers always have a JSON form.
    serde_json::to_string(&rows).unwrap_or_default()
}

/// Reads requests of administrators back.
pub(super) fn parse_requests(
    text: &str,
    what: impl Fn() -> String,
) -> Result<Vec<hallmark_state::FirstRequest>, StoreError> {
    let rows: Vec<(String, String, i64, i64)> =
        serde_json::from_str(text).map_err(|error| json::undecodable(&what, &error))?;
    let id = |text: &str| hallmark_spiffe::SpiffeId::parse(text).map_err(|error| json::undecodable(&what, &error));
    let request = |(administrator, agent, issued_at, at): (String, String, i64, i64)| {
        Ok(hallmark_state::FirstRequest {
            id: id(&administrator)?,
            agent: id(&agent)?,
            issued_at,
            at,
        })
    };
    rows.into_iter().map(request).collect()
}
