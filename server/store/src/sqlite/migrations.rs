//! Numbered migrations. The schema's version is SQLite's `user_version`.

use std::{collections::BTreeSet, path::Path};

use rusqlite::{Connection, TransactionBehavior};

use super::{older_records, record_page};
use crate::StoreError;

/// Migration `n` takes the schema from version `n` to `n + 1`. One that was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
    include_str!("0005.sql"),
    include_str!("0006.sql"),
    include_str!("0007.sql"),
    include_str!("0008.sql"),
    include_str!("0009.sql"),
    include_str!("0010.sql"),
    include_str!("0011.sql"),
    include_str!("0012.sql"),
    include_str!("0013.sql"),
    include_str!("0014.sql"),
    include_str!("0015.sql"),
    include_str!("0016.sql"),
];

/// The version from which on there is a journal.
pub(super) const JOURNAL: u32 = 11;
/// The version from which on its rows have changes.
const CHANGES: u32 = 12;

/// Marks the file as Hallmark's (`PRAGMA application_id`): the letters `HMRK`.
const APPLICATION_ID: u32 = 0x484d_524b;

/// The newest schema version that this program knows.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Looks whose file it is, without a change to it; the version of its schema.
pub(super) fn recognise(path: &Path, connection: &Connection) -> Result<u32, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let (found, application) = (
        pragma("user_version").map_err(at)?,
        pragma("application_id").map_err(at)?,
    );
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(at)?;
    let new = application == 0 && found == 0 && tables == 0;
    if !new && application != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.into() });
    }
    let known = newest();
    if found > known {
        return Err(StoreError::NewerSchema {
            path: path.into(),
            found,
            known,
        });
    }
    Ok(found)
}

/// The migrations from the version `found` on.
fn bring_up(path: &Path, connection: &Connection, found: u32) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        connection.execute_batch(migration).map_err(at)?;
    }
    if found < JOURNAL {
        older_records::import(path, connection)?;
    }
    if found < CHANGES {
        record_page::begin_after_last(connection).map_err(at)?;
    }
    Ok(())
}

/// Refuses a store with a table, an index, a view or a trigger that no migration made, or without one that they made: a trigger
/// would change what is written.
///
/// # Errors
/// [`StoreError::Corrupt`], naming the first one.
pub(super) fn require_schema(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let model = Connection::open_in_memory().map_err(at)?;
    bring_up(path, &model, 0)?;
    let (expected, found) = (parts(&model).map_err(at)?, parts(connection).map_err(at)?);
    let surplus = found
        .difference(&expected)
        .map(|part| format!("{part} is not the store's"));
    let missing = expected.difference(&found).map(|part| format!("{part} is missing"));
    let first = surplus.chain(missing).next();
    first.map_or(Ok(()), |reason| {
        Err(StoreError::Corrupt {
            path: path.into(),
            reason,
        })
    })
}

/// What the schema consists of: `<type> <name> of <table>`. What SQLite makes for itself is left out.
fn parts(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?;
    let rows = statement.query_map([], |row| {
        let [kind, name, table]: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        Ok(format!("the {kind} {name} of {table}"))
    })?;
    rows.collect()
}

/// Brings the schema up to date; refuses files that are not ours or newer than this program.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    // Immediate: from the look at the version to the last migration nobody else writes.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(at)?;
    let (found, known) = (recognise(path, &transaction)?, newest());
    if found < known {
        bring_up(path, &transaction, found)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(at)?;
        transaction.pragma_update(None, "user_version", known).map_err(at)?;
    }
    require_schema(path, &transaction)?;
    transaction.commit().map_err(at)?;
    if 0 < found && found < known {
        tracing::warn!(
            store = %path.display(),
            from = found,
            to = known,
            "the store was brought to a newer schema: an older program does not open it any more"
        );
    }
    Ok(())
}
