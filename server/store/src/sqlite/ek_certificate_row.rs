//! Rows of `ek_certificates`.

use std::path::Path;

use hallmark_state::EkCertificate;
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::ValueRef};

use super::{json, unread};
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
        .map_err(|error| unread::of_key(path, "ek_certificates", json::hex(ek), &error))
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
    let mut rows = statement.query(params![after, limit]).map_err(at)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(at)? {
        let read = row.get::<_, String>(0).and_then(|ek| Ok((ek, certificate(row, 1)?)));
        let (ek, certificate) = read.map_err(|error| unread::of_row(path, ("ek_certificates", 1), row, &error))?;
        let ek_sha256 = json::hash(&ek).ok_or_else(|| StoreError::Undecodable {
            what: unread::row_of("ek_certificates", &ek),
            reason: "the EK is no hash".to_owned(),
        })?;
        all.push(EkCertificate { ek_sha256, certificate });
    }
    Ok(all)
}

/// A certificate's JSON, also where the column holds something else: that is no JSON then, of which the caller tells. So one row
/// that is damaged keeps no other from being read.
fn certificate(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => String::new(),
    })
}
