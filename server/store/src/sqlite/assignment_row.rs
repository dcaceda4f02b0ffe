//! Rows of `image_assignments`.

use hallmark_node::EkId;
use hallmark_state::{ImageAssignment, ImageOrder, InstallStage};
use rusqlite::{Connection, Row, params};

use super::unread;
use crate::StoreError;

/// Adds or replaces an assignment.
pub(super) fn put(connection: &Connection, it: &ImageAssignment) -> rusqlite::Result<()> {
    let (chunks_done, code, reason) = it.stage.parts();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO image_assignments (ek, attempt, image, version, chunks, manifest_url, manifest_sha256, \
             disk, overwrite, baseline, stage, chunks_done, code, reason, returns, assigned_at, since, restarted_in) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            it.ek.to_string(),
            it.attempt,
            it.order.image,
            it.order.version,
            it.order.chunks,
            it.order.manifest_url,
            it.order.manifest_sha256,
            it.order.disk,
            it.order.overwrite,
            it.order.baseline,
            it.stage.as_str(),
            chunks_done,
            code,
            reason,
            it.returns,
            it.assigned_at,
            it.since,
            it.restarted_in,
        ])
        .map(drop)
}

/// Removes an assignment; gives how many there were.
pub(super) fn delete(connection: &Connection, ek: &EkId) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM image_assignments WHERE ek = ?1")?
        .execute([ek.to_string()])
}

/// The columns of an assignment, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "ek, attempt, image, version, chunks, manifest_url, manifest_sha256, disk, overwrite, \
                                  baseline, stage, chunks_done, code, reason, returns, assigned_at, since, restarted_in";

/// A row of `image_assignments` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<ImageAssignment, StoreError>> {
    let [ek, stage, code, reason]: [String; 4] = [row.get(0)?, row.get(10)?, row.get(12)?, row.get(13)?];
    let order = ImageOrder {
        image: row.get(2)?,
        version: row.get(3)?,
        chunks: row.get(4)?,
        manifest_url: row.get(5)?,
        manifest_sha256: row.get(6)?,
        disk: row.get(7)?,
        overwrite: row.get(8)?,
        baseline: row.get(9)?,
    };
    let (attempt, chunks_done) = (row.get(1)?, row.get(11)?);
    let (returns, assigned_at, since, restarted_in) = (row.get(14)?, row.get(15)?, row.get(16)?, row.get(17)?);
    let undecodable = |reason: String| StoreError::Undecodable {
        what: unread::row_of("image_assignments", &ek),
        reason,
    };
    let read = || {
        let ek = EkId::parse(&ek).map_err(|error| undecodable(error.to_string()))?;
        let read = InstallStage::from_parts(&stage, chunks_done, &code, &reason);
        Ok(ImageAssignment {
            ek,
            attempt,
            order,
            stage: read.ok_or_else(|| undecodable(format!("stage {stage}")))?,
            returns,
            restarted_in,
            assigned_at,
            since,
        })
    };
    Ok(read())
}
