//! Runs of rows of the journal in which time goes on. The clock may have been set back between two rows, so that halving finds
//! a time within a run only.

use rusqlite::{Connection, OptionalExtension as _, params};

/// How far time may go back within a run, in seconds.
const WITHIN: i64 = 86_400;
/// How far the clock has to go back for the log to tell it, in seconds.
const TOLD: i64 = 60;
/// The most runs: where a clock jumps all the time, the last one has the rest of the rows, in any order.
const MOST: usize = 10_000;
/// How many records the stored runs may stay behind: it is what each query by time reads.
const STEP: u64 = 4096;
/// Where the runs are, in the table `meta`.
const KEY: &str = "journal_time_runs";

/// The runs.
#[derive(Debug, Clone)]
pub(super) struct TimeRuns {
    /// The last row that was looked at.
    through: u64,
    /// The latest time of the last run.
    latest: i64,
    /// The first row of each run but the first.
    starts: Vec<u64>,
    /// Whether the last run has rows in any order.
    is_any_order: bool,
    /// The time of the last row.
    last: i64,
    /// Up to where the store has them.
    stored: u64,
}

impl Default for TimeRuns {
    fn default() -> Self {
        Self {
            through: 0,
            latest: i64::MIN,
            starts: Vec::new(),
            is_any_order: false,
            last: i64::MIN,
            stored: 0,
        }
    }
}

impl TimeRuns {
    /// As the store has them, with the rows since.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let stored: Option<String> = connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| row.get(0))
            .optional()?;
        let end: Option<u64> = connection.query_row("SELECT max(revision) FROM journal", [], |row| row.get(0))?;
        // What cannot be read, or is of another journal, is found again.
        let mut runs = stored
            .and_then(|text| serde_json::from_str(&text).ok())
            .filter(|(through, ..): &(u64, i64, Vec<u64>, bool)| *through <= end.unwrap_or(0))
            .map_or_else(Self::default, |(through, latest, starts, is_any_order)| Self {
                through,
                latest,
                starts,
                is_any_order,
                last: i64::MIN,
                stored: through,
            });
        let mut rows =
            connection.prepare_cached("SELECT revision, at FROM journal WHERE revision > ?1 ORDER BY revision")?;
        let mut rows = rows.query([runs.through])?;
        while let Some(row) = rows.next()? {
            runs.take(row.get(0)?, [row.get(1)?]);
        }
        Ok(runs)
    }

    /// Takes in the row that is written now, with the times of all that is in it, its own last; tells in the log when the
    /// clock has gone back.
    pub(super) fn note(
        &mut self,
        connection: &Connection,
        row: u64,
        times: impl IntoIterator<Item = i64>,
    ) -> rusqlite::Result<()> {
        let (runs, before) = (self.starts.len(), self.last);
        self.take(row, times);
        if self.last < before.saturating_sub(TOLD) {
            tracing::warn!(
                record = row,
                from = before,
                to = self.last,
                "the server's clock went back: records that come now have earlier times than those before them"
            );
        }
        if self.starts.len() == runs && row.saturating_sub(self.stored) < STEP {
            return Ok(());
        }
        self.stored = row;
        let text = serde_json::to_string(&(self.through, self.latest, &self.starts, self.is_any_order));
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            // Numbers always have a JSON form.
            .execute(params![KEY, text.unwrap_or_default()])
            .map(drop)
    }

    fn take(&mut self, row: u64, times: impl IntoIterator<Item = i64>) {
        for at in times {
            self.last = at;
            if at >= self.latest.saturating_sub(WITHIN) {
                self.latest = self.latest.max(at);
                continue;
            }
            self.latest = at;
            if self.starts.len() >= MOST {
                self.is_any_order = true;
            } else if self.starts.last() != Some(&row) {
                self.starts.push(row);
            }
        }
        self.through = row;
    }

    /// Between which rows events of `since` or later, and before `until`, may stand; 0 for no bound. In order; none is left out.
    pub(super) fn rows(&self, connection: &Connection, since: i64, until: i64) -> rusqlite::Result<Vec<(u64, u64)>> {
        let begins = std::iter::once(0).chain(self.starts.iter().copied());
        let ends = self.starts.iter().map(|start| start.saturating_sub(1));
        let ends = ends.chain(std::iter::once(u64::MAX));
        let mut found = Vec::new();
        for (place, (begin, end)) in begins.zip(ends).enumerate() {
            if self.is_any_order && place == self.starts.len() {
                found.push((begin, end));
                continue;
            }
            let first = match since {
                1.. => first_at(connection, since.saturating_sub(WITHIN), begin, end)?,
                _ => Some(begin),
            };
            let last = match until {
                1.. => first_at(connection, until.saturating_add(WITHIN), begin, end)?.unwrap_or(end),
                _ => end,
            };
            // The clock may have been set back within the row with which a run begins.
            if begin > 0 && first != Some(begin) {
                found.push((begin, begin));
            }
            if let Some(first) = first.filter(|first| *first <= last) {
                found.push((first, last));
            }
        }
        Ok(found)
    }
}

/// The first row between `low` and `most` that is of `time` or later, found by halving: all after one that is are, too.
fn first_at(connection: &Connection, time: i64, low: u64, most: u64) -> rusqlite::Result<Option<u64>> {
    let number = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
    let last: Option<u64> = connection
        .prepare_cached("SELECT max(revision) FROM journal WHERE revision <= ?1")?
        .query_row([number(most)], |row| row.get(0))?;
    let mut at = connection
        .prepare_cached("SELECT at >= ?2 FROM journal WHERE revision BETWEEN ?1 AND ?3 ORDER BY revision LIMIT 1")?;
    let (mut low, mut high) = (low, last.unwrap_or(0).saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let holds: Option<bool> = at
            .query_row(params![middle, time, number(most)], |row| row.get(0))
            .optional()?;
        match holds {
            Some(false) => low = middle + 1,
            _ => high = middle,
        }
    }
    // Not every number is a row's: a group has one row, under the number of its last record.
    connection
        .prepare_cached("SELECT min(revision) FROM journal WHERE revision BETWEEN ?1 AND ?2")?
        .query_row(params![low, number(most)], |row| row.get(0))
}
