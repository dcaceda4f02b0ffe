//! Rows of `tpm_names` and `machine_eks`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hallmark_node::EkId;
use hallmark_state::TpmName;
use hallmark_tpm_wire::Name;
use rusqlite::{Connection, Row, params};

use super::{json, unread};
use crate::StoreError;

/// Adds a Name, or gives it another EK.
pub(super) fn put_name(connection: &Connection, new: &TpmName) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO tpm_names (name, ek) VALUES (?1, ?2)")?
        .execute(params![new.name.to_string(), json::hex(&new.ek_sha256)])
        .map(|_| ())
}

/// The columns of a Name, in the order that [`read_name`] takes them.
pub(super) const NAME_COLUMNS: &str = "name, ek";

/// A row of `tpm_names` with [`NAME_COLUMNS`].
pub(super) fn read_name(row: &Row<'_>) -> rusqlite::Result<Result<TpmName, StoreError>> {
    let (name, ek): (String, String) = (row.get(0)?, row.get(1)?);
    let read = json::bytes(&name)
        .and_then(|bytes| Name::parse(&bytes).ok())
        .zip(json::hash(&ek));
    Ok(read
        .map(|(name, ek_sha256)| TpmName { name, ek_sha256 })
        .ok_or_else(|| StoreError::Undecodable {
            what: unread::row_of("tpm_names", &name),
            reason: format!("{name:?} of EK {ek:?}"),
        }))
}

/// Puts these EKs together, and nothing with them that stood there before.
pub(super) fn put_machine(connection: &Connection, eks: &BTreeSet<EkId>) -> rusqlite::Result<()> {
    let mut part = connection
        .prepare_cached("DELETE FROM machine_eks WHERE machine IN (SELECT machine FROM machine_eks WHERE ek = ?1)")?;
    for ek in eks {
        part.execute([ek.to_string()])?;
    }
    let Some(machine) = eks.first().filter(|_| eks.len() > 1) else {
        return Ok(());
    };
    let mut join = connection.prepare_cached("INSERT INTO machine_eks (ek, machine) VALUES (?1, ?2)")?;
    for ek in eks {
        join.execute([ek.to_string(), machine.to_string()])?;
    }
    Ok(())
}

/// The EKs of every machine.
pub(super) fn machines(path: &Path, connection: &Connection) -> Result<Vec<BTreeSet<EkId>>, StoreError> {
    let at = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let mut statement = connection.prepare("SELECT ek, machine FROM machine_eks").map_err(at)?;
    let mut rows = statement.query([]).map_err(at)?;
    let mut machines: BTreeMap<String, BTreeSet<EkId>> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(at)? {
        let read = row.get::<_, String>(0).and_then(|ek| Ok((ek, row.get(1)?)));
        let (ek, machine) = read.map_err(|error| unread::of_row(path, ("machine_eks", 1), row, &error))?;
        let ek = EkId::parse(&ek).map_err(|error| StoreError::Undecodable {
            what: unread::row_of("machine_eks", &ek),
            reason: error.to_string(),
        })?;
        machines.entry(machine).or_default().insert(ek);
    }
    Ok(machines.into_values().collect())
}
