//! Rows of `ek_certificates`.

use std::path::Path;

use hallmark_state::EkCertificate;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::ValueRef};

use super::json;
use crate::StoreError;

/// Adds or replaces the certificate of an EK.
pub(super) fn put(connection: &Connection, new: &EkCertificate) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO ek_certificates (ek, certificate) VALUES (?1, ?2)")?
        .execute(params![json::hex(&new.ek_sha256), new.certificate])
        .map(|_| ())
}

/// The certificate of an EK.
pub(super) fn find(path: &Path, connection: &Connection, ek: &[u8; 32]) -> Result<Option<EkCertificate>, StoreError> {
    connection
        .prepare_cached("SELECT certificate FROM ek_certificates WHERE ek = ?1")
        .and_then(|mut statement| {
            let found = statement
                .query_row([json::hex(ek)], |row| certificate(row, 0))
                .optional()?;
            Ok(found.map(|certificate| EkCertificate {
                ek_sha256: *ek,
                certificate,
            }))
        })
        .map_err(|error| StoreError::from_sqlite(path, &error))
}

/// The certificates of at most `limit` EKs whose hash is above `after`, by hash.
pub(super) fn page(
    path: &Path,
    connection: &Connection,
    after: Option<&[u8; 32]>,
    limit: u32,
) -> Result<Vec<EkCertificate>, StoreError> {
    let at = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let mut statement = connection
        .prepare_cached("SELECT ek, certificate FROM ek_certificates WHERE ek > ?1 ORDER BY ek LIMIT ?2")
        .map_err(at)?;
    let after = after.map_or_else(String::new, json::hex);
    let rows = statement
        .query_map(params![after, limit], |row| {
            Ok((row.get::<_, String>(0)?, certificate(row, 1)?))
        })
        .map_err(at)?;
    rows.map(|row| {
        let (ek, certificate) = row.map_err(at)?;
        let ek_sha256 = json::hash(&ek).ok_or_else(|| StoreError::Undecodable {
            what: "an EK certificate".to_owned(),
            reason: format!("invalid EK hash {ek:?}"),
        })?;
        Ok(EkCertificate { ek_sha256, certificate })
    })
    .collect()
}

/// A certificate's JSON, also where the column holds something else: that is no JSON then, of which the caller tells. So one row
/// that is damaged keeps no other from being read.
fn certificate(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => String::new(),
    })
}
