//! Rows of `inventory`.

use std::collections::BTreeSet;

use hallmark_node::{EkId, InventoryItem, Maker, Model, TpmClass};
use rusqlite::{Connection, Row, params};

use super::{json, unread};
use crate::StoreError;

/// Adds or replaces a line.
pub(super) fn put(connection: &Connection, line: &InventoryItem) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO inventory (ek, serial, owner, labels, expires_at, class, manufacturer, model, \
             other_eks) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            line.ek.to_string(),
            line.serial,
            line.owner,
            json::map(&line.labels),
            line.expires,
            line.class.map(TpmClass::as_str),
            line.manufacturer.as_ref().map(Maker::as_str),
            line.model.as_ref().map(Model::as_str),
            json::strings(
                line.other_eks
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
            ),
        ])
        .map(|_| ())
}

/// Removes a line; gives how many there were.
pub(super) fn delete(connection: &Connection, ek: &EkId) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM inventory WHERE ek = ?1")?
        .execute(params![ek.to_string()])
}

/// The columns of a line, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "ek, serial, owner, labels, expires_at, class, manufacturer, model, other_eks";

/// A row of `inventory` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<InventoryItem, StoreError>> {
    let (ek, labels, others): (String, String, String) = (row.get(0)?, row.get(3)?, row.get(8)?);
    let class: Option<String> = row.get(5)?;
    let what = || unread::row_of("inventory", &ek);
    let undecodable = |reason| StoreError::Undecodable { what: what(), reason };
    let parsed = EkId::parse(&ek)
        .map_err(|error| undecodable(error.to_string()))
        .and_then(|ek| Ok((ek, json::parse_map(&labels, what)?)))
        .and_then(|(ek, labels)| {
            let class = class
                .map(|name| TpmClass::from_name(&name).ok_or_else(|| undecodable(format!("class {name}"))))
                .transpose()?;
            let others = json::parse_strings(&others, what)?;
            let others = others.iter().map(|ek| EkId::parse(ek));
            let others = others.collect::<Result<BTreeSet<_>, _>>();
            Ok((
                ek,
                others.map_err(|error| undecodable(error.to_string()))?,
                labels,
                class,
            ))
        });
    let (ek, other_eks, labels, class) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(InventoryItem {
        ek,
        other_eks,
        serial: row.get(1)?,
        owner: row.get(2)?,
        labels,
        expires: row.get(4)?,
        class,
        manufacturer: row.get::<_, Option<String>>(6)?.map(Maker::from),
        model: row.get::<_, Option<String>>(7)?.map(Model::from),
    }))
}
