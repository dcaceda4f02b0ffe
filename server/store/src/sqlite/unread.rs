//! Rows that do not read back: which, and what is wrong with them.

use std::path::Path;

use rusqlite::{Error, Row, types::ValueRef};

use super::json;
use crate::{StoreError, error::damage};

/// A table, and how many of the columns that are read first are its key.
pub(super) type Table = (&'static str, usize);

const fn column(error: &Error) -> Option<usize> {
    match error {
        Error::FromSqlConversionFailure(column, ..)
        | Error::IntegralValueOutOfRange(column, _)
        | Error::Utf8Error(column, _)
        | Error::InvalidColumnType(column, ..) => Some(*column),
        _ => None,
    }
}

/// A row in words.
pub(super) fn row_of(table: &str, key: impl std::fmt::Display) -> String {
    format!("row {key} of the table {table}")
}

/// The error of reading `row`.
pub(super) fn of_row(path: &Path, (table, keys): Table, row: &Row<'_>, error: &Error) -> StoreError {
    let Some(damage) = damage(error) else {
        return StoreError::from_sqlite(path, error);
    };
    let column = column(error).and_then(|column| row.as_ref().column_name(column).ok());
    StoreError::Undecodable {
        what: row_of(table, key(row, keys)),
        reason: column.map_or_else(|| damage.clone(), |column| format!("column {column}: {damage}")),
    }
}

/// The error of reading a row of `table`, whose key is `key`.
pub(super) fn of_key(path: &Path, table: &str, key: impl std::fmt::Display, error: &Error) -> StoreError {
    damage(error).map_or_else(
        || StoreError::from_sqlite(path, error),
        |reason| StoreError::Undecodable {
            what: row_of(table, key),
            reason,
        },
    )
}

/// The error of reading rows of the journal.
pub(super) fn of_journal(path: &Path, error: &Error) -> StoreError {
    damage(error).map_or_else(
        || StoreError::from_sqlite(path, error),
        |reason| StoreError::Undecodable {
            what: "a row of the table journal".to_owned(),
            reason,
        },
    )
}

/// The key of a row: the values of its first columns, whatever they are.
pub(super) fn key(row: &Row<'_>, keys: usize) -> String {
    let text = |column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Blob(bytes)) => json::hex_of(bytes),
        Ok(ValueRef::Null) | Err(_) => "without a key".to_owned(),
    };
    (0..keys).map(text).collect::<Vec<_>>().join(" ")
}
