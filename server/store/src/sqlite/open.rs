//! Opening connections.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, config::DbConfig, params};

use super::{SqliteOptions, files::log_of, log::Log};
use crate::StoreError;

/// Statements kept prepared per connection; there are fewer in this crate.
const STATEMENTS: usize = 64;
/// How large the write-ahead log stays once all of it was folded into the file, in bytes: twice what it takes to be due.
const LOG_LIMIT: u32 = 8 * 1024 * 1024;

/// The writer's connection.
pub(super) fn writable(options: &SqliteOptions) -> Result<Connection, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(options.path(), &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(options.path(), flags).map_err(at)?;
    if connection.is_readonly("main").map_err(at)? {
        return Err(StoreError::ReadOnly {
            path: options.path().into(),
        });
    }
    connection.busy_timeout(options.wait()).map_err(at)?;
    // A store that is refused stays as it is, log and file.
    Log::leave(&connection, true).map_err(at)?;
    Ok(connection)
}

/// Sets what is written into the file: once it is known to be this program's.
pub(super) fn configure(options: &SqliteOptions, connection: &Connection) -> Result<(), StoreError> {
    set(options, connection).map_err(|e| StoreError::from_sqlite(options.path(), &e))
}

fn set(options: &SqliteOptions, connection: &Connection) -> rusqlite::Result<()> {
    keep_plans(connection)?;
    // FULL: a commit returns when its pages are flushed; with NORMAL a power cut could lose acknowledged commits.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
         PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 0;",
    )?;
    // What a reader held back does not stay on the disk for as long as the server runs.
    connection.query_row(&format!("PRAGMA journal_size_limit = {LOG_LIMIT}"), [], |_| Ok(()))?;
    if let Some(limit) = options.limit() {
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = limit / u64::try_from(page).unwrap_or(4096).max(1);
        // The pragma answers with a row, so it is a query.
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(())
}

/// Refuses an empty file beside a write-ahead log that is not: SQLite would remove the log, which has all that there is.
pub(super) fn require_content(path: &Path) -> Result<(), StoreError> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let log = size(&log_of(path));
    if size(path) > 0 || log == 0 {
        return Ok(());
    }
    Err(StoreError::StaleLog {
        path: path.into(),
        found: if path.exists() { "an empty file" } else { "missing" }.into(),
        known: format!("a log of {log} bytes"),
    })
}

/// A reader's connection.
pub(super) fn readable(options: &SqliteOptions) -> Result<Connection, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(options.path(), &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(options.path(), flags).map_err(at)?;
    connection.busy_timeout(options.wait()).map_err(at)?;
    keep_plans(&connection).map_err(at)?;
    Ok(connection)
}

/// A plan does not follow the values that are bound: a statement is prepared once, not each time that they change.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Writes the trust domain into a new store; compares it in one that has it.
pub(super) fn pin_trust_domain(options: &SqliteOptions, connection: &mut Connection) -> Result<(), StoreError> {
    if require_trust_domain(options, connection)? {
        return Ok(());
    }
    connection
        .execute(
            "INSERT INTO meta (key, value) VALUES ('trust_domain', ?1)",
            params![options.trust_domain().as_str()],
        )
        .map(drop)
        .map_err(|e| StoreError::from_sqlite(options.path(), &e))
}

/// Refuses the store of another trust domain; whether it is one's yet.
pub(super) fn require_trust_domain(options: &SqliteOptions, connection: &Connection) -> Result<bool, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(options.path(), &e);
    let stored: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'trust_domain'", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(at)?;
    match stored {
        Some(stored) if stored == options.trust_domain().as_str() => Ok(true),
        Some(stored) => Err(StoreError::OtherTrustDomain {
            path: options.path().into(),
            stored,
            configured: options.trust_domain().clone(),
        }),
        None => Ok(false),
    }
}
