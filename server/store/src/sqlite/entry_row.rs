//! Rows of `entries`.

use std::{collections::BTreeSet, path::Path, time::Duration};

use hallmark_reason::Coded as _;
use hallmark_spiffe::{SelectorSet, SpiffeId, TrustDomain};
use hallmark_state::{Entry, EntryId};
use rusqlite::{Connection, Params, Row, ToSql};

use super::{json, unread};
use crate::StoreError;

/// Adds an entry; a constraint violation when its id is taken.
pub(super) fn insert(connection: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entries (id, spiffe_id, parent_id, selectors, x509_svid_ttl, jwt_svid_ttl, \
        federates_with, admin, downstream, expires_at, dns_names, revision, store_svid, hint, created_at, \
        disable_x509_svid_prefetch, jwt_svid_include_jti, over_tls) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    write(connection, sql, entry).map(|_| ())
}

/// Replaces the entry with the same id; gives the number of rows changed.
pub(super) fn update(connection: &Connection, entry: &Entry) -> rusqlite::Result<usize> {
    let sql = "UPDATE entries SET spiffe_id = ?2, parent_id = ?3, selectors = ?4, x509_svid_ttl = ?5, \
        jwt_svid_ttl = ?6, federates_with = ?7, admin = ?8, downstream = ?9, expires_at = ?10, dns_names = ?11, \
        revision = ?12, store_svid = ?13, hint = ?14, created_at = ?15, disable_x509_svid_prefetch = ?16, \
        jwt_svid_include_jti = ?17, over_tls = ?18 WHERE id = ?1";
    write(connection, sql, entry)
}

/// Removes an entry; gives how many there were.
pub(super) fn delete(connection: &Connection, id: &EntryId) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM entries WHERE id = ?1")?
        .execute([id.as_str()])
}

fn write(connection: &Connection, sql: &str, entry: &Entry) -> rusqlite::Result<usize> {
    let selectors = json::selectors(&entry.selectors);
    let federates_with = json::strings(entry.federates_with.iter().map(TrustDomain::as_str));
    let dns_names = json::strings(entry.dns_names.iter().map(String::as_str));
    let (x509_ttl, jwt_ttl) = (seconds(entry.x509_svid_ttl), seconds(entry.jwt_svid_ttl));
    let values: [&dyn ToSql; 18] = [
        &entry.id.as_str(),
        &entry.spiffe_id.as_str(),
        &entry.parent_id.as_str(),
        &selectors,
        &x509_ttl,
        &jwt_ttl,
        &federates_with,
        &entry.admin,
        &entry.downstream,
        &entry.expires_at,
        &dns_names,
        &entry.revision,
        &entry.store_svid,
        &entry.hint,
        &entry.created_at,
        &entry.disable_x509_svid_prefetch,
        &entry.jwt_svid_include_jti,
        &entry.over_tls,
    ];
    execute(connection, sql, values.as_slice())
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)
}

/// The columns of an entry, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "id, spiffe_id, parent_id, selectors, x509_svid_ttl, jwt_svid_ttl, federates_with, \
    admin, downstream, expires_at, dns_names, revision, store_svid, hint, created_at, disable_x509_svid_prefetch, \
    jwt_svid_include_jti, over_tls";

/// The columns that are text on disk and more than text in memory.
struct Parsed {
    id: EntryId,
    spiffe_id: SpiffeId,
    parent_id: SpiffeId,
    selectors: SelectorSet,
    federates_with: BTreeSet<TrustDomain>,
    dns_names: Vec<String>,
}

/// The entry of a row, held against the rules that a request has to keep; or why nobody is served by it.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn allowed(
    read: Result<Entry, StoreError>,
    trust_domain: &TrustDomain,
) -> Result<Result<Entry, String>, StoreError> {
    match read {
        Ok(entry) => Ok(match entry.require_allowed(trust_domain) {
            Ok(()) => Ok(entry),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }),
        Err(StoreError::Undecodable { reason, .. }) => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

/// Whether there is a row with this id by which nobody is served: another entry may take its place.
pub(super) fn is_left_out(
    path: &Path,
    connection: &Connection,
    trust_domain: &TrustDomain,
    id: &EntryId,
) -> Result<bool, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let sql = format!("SELECT {COLUMNS} FROM entries WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql).map_err(at)?;
    let mut rows = statement.query([id.as_str()]).map_err(at)?;
    let Some(row) = rows.next().map_err(at)? else {
        return Ok(false);
    };
    let entry = read(row).unwrap_or_else(|error| Err(unread::of_row(path, ("entries", 1), row, &error)));
    Ok(allowed(entry, trust_domain)?.is_err())
}

/// A row of `entries` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Entry, StoreError>> {
    let parsed = match parse(row)? {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Err(e)),
    };
    // As a message has it, and not negative: another number is another entry's.
    let ttl = |column| -> rusqlite::Result<Duration> {
        let seconds: i32 = row.get(column)?;
        let out_of_range = |_| rusqlite::Error::IntegralValueOutOfRange(column, seconds.into());
        u64::try_from(seconds).map(Duration::from_secs).map_err(out_of_range)
    };
    Ok(Ok(Entry {
        id: parsed.id,
        spiffe_id: parsed.spiffe_id,
        parent_id: parsed.parent_id,
        selectors: parsed.selectors,
        x509_svid_ttl: ttl(4)?,
        jwt_svid_ttl: ttl(5)?,
        federates_with: parsed.federates_with,
        admin: row.get(7)?,
        downstream: row.get(8)?,
        expires_at: row.get(9)?,
        dns_names: parsed.dns_names,
        revision: row.get(11)?,
        store_svid: row.get(12)?,
        hint: row.get(13)?,
        created_at: row.get(14)?,
        disable_x509_svid_prefetch: row.get(15)?,
        jwt_svid_include_jti: row.get(16)?,
        over_tls: row.get(17)?,
    }))
}

fn parse(row: &Row<'_>) -> rusqlite::Result<Result<Parsed, StoreError>> {
    let id: String = row.get(0)?;
    let [spiffe_id, parent_id]: [String; 2] = [row.get(1)?, row.get(2)?];
    let [selectors, federates_with, dns_names]: [String; 3] = [row.get(3)?, row.get(6)?, row.get(10)?];
    let what = || unread::row_of("entries", &id);
    let bad = |e: &dyn std::error::Error| json::undecodable(&what, e);
    let build = || -> Result<Parsed, StoreError> {
        Ok(Parsed {
            id: EntryId::parse(&id).map_err(|e| bad(&e))?,
            spiffe_id: SpiffeId::parse(&spiffe_id).map_err(|e| bad(&e))?,
            parent_id: SpiffeId::parse(&parent_id).map_err(|e| bad(&e))?,
            selectors: json::parse_selectors(&selectors, what)?,
            federates_with: json::parse_strings(&federates_with, what)?
                .iter()
                .map(|name| TrustDomain::parse(name).map_err(|e| bad(&e)))
                .collect::<Result<_, _>>()?,
            dns_names: json::parse_strings(&dns_names, what)?,
        })
    };
    Ok(build())
}
