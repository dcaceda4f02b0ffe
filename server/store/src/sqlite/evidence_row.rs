//! Rows of `evidence` and `evidence_logs`.

use std::path::Path;

use hallmark_spiffe::SpiffeId;
use hallmark_state::{HeldEvidence, LogPart, NewEvidence, NodeEvidence, NodeFacts, WholeLog};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{json, unread};
use crate::StoreError;

/// The most bytes of a log in one row: SQLite copies what it is given.
const PIECE: usize = 4 * 1024 * 1024;

/// Keeps evidence in the place of what the node proved before.
pub(super) fn put(
    path: &Path,
    connection: &Connection,
    new: &NewEvidence,
    sha256: Option<&[u8; 32]>,
    revision: u64,
) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let evidence = &new.evidence;
    let node = evidence.node.as_str();
    connection
        .prepare_cached(
            "INSERT INTO evidence (node, judged_at, sighting, file, facts, ima, earlier, revision, sha256) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', ?8, ?9) \
             ON CONFLICT (node) DO UPDATE SET judged_at = ?2, sighting = ?3, file = ?4, facts = ?5, ima = ?6, revision = ?8, \
             sha256 = ?9, \
             earlier = CASE WHEN NOT ?7 THEN evidence.earlier WHEN json_valid(evidence.facts) THEN evidence.facts ELSE '' END",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                node,
                evidence.judged_at,
                evidence.runs,
                evidence.file,
                evidence.facts,
                evidence.ima,
                new.drops_logs,
                revision,
                sha256,
            ])
        })
        .map_err(at)?;
    if new.drops_logs {
        connection
            .prepare_cached("DELETE FROM evidence_logs WHERE node = ?1")
            .and_then(|mut statement| statement.execute([node]))
            .map_err(at)?;
    }
    new.logs
        .iter()
        .try_for_each(|part| put_part(path, connection, node, part))
}

fn put_part(path: &Path, connection: &Connection, node: &str, part: &LogPart) -> Result<(), StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    if part.offset == 0 {
        connection
            .prepare_cached("DELETE FROM evidence_logs WHERE node = ?1 AND kind = ?2")
            .and_then(|mut statement| statement.execute(params![node, part.kind]))
            .map_err(at)?;
    }
    if part.data.is_empty() {
        return Ok(());
    }
    let held: u64 = connection
        .prepare_cached(
            "SELECT coalesce(max(position + length(data)), 0) FROM evidence_logs WHERE node = ?1 AND kind = ?2",
        )
        .and_then(|mut statement| statement.query_row(params![node, part.kind], |row| row.get(0)))
        .map_err(at)?;
    if held != part.offset {
        return Err(StoreError::Missing {
            what: format!("the log of {node} up to byte {}, of which {held} are held", part.offset),
        });
    }
    let mut insert = connection
        .prepare_cached("INSERT INTO evidence_logs (node, kind, position, data) VALUES (?1, ?2, ?3, ?4)")
        .map_err(at)?;
    let mut position = part.offset;
    for piece in part.data.chunks(PIECE) {
        insert.execute(params![node, part.kind, position, piece]).map_err(at)?;
        position = position.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Puts other facts in the place of those that are kept of a node; gives how many nodes that were.
pub(super) fn put_facts(connection: &Connection, new: &NodeFacts) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached("UPDATE evidence SET facts = ?2 WHERE node = ?1")?;
    statement.execute(params![new.node.as_str(), new.facts])
}

/// Puts other quotes in the place of those that are kept of a node; gives how many nodes that were.
pub(super) fn put_runs(connection: &Connection, node: &SpiffeId, runs: &str) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached("UPDATE evidence SET sighting = ?2 WHERE node = ?1")?;
    statement.execute(params![node.as_str(), runs])
}

/// How far each node's evidence goes; of each node's id the copy that `shared` gives.
pub(super) fn held(
    path: &Path,
    connection: &Connection,
    mut shared: impl FnMut(SpiffeId) -> SpiffeId,
) -> Result<Vec<HeldEvidence>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut lengths = connection
        .prepare("SELECT kind, max(position + length(data)) FROM evidence_logs WHERE node = ?1 GROUP BY kind")
        .map_err(at)?;
    let mut nodes = connection
        .prepare("SELECT node, sighting, ima, revision, sha256 FROM evidence ORDER BY node")
        .map_err(at)?;
    let mut rows = nodes.query([]).map_err(at)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(at)? {
        let damaged = |e: rusqlite::Error| unread::of_row(path, ("evidence", 1), row, &e);
        let node: String = row.get(0).map_err(damaged)?;
        let lengths = lengths
            // A kind that is no small number is read as one that no log has: the node's evidence is damaged then.
            .query_map([&node], |row| {
                Ok((u8::try_from(row.get::<_, i64>(0)?).unwrap_or(u8::MAX), row.get(1)?))
            })
            .and_then(Iterator::collect)
            .map_err(|e| unread::of_key(path, "evidence_logs", &node, &e))?;
        let Ok(node) = id(&node) else {
            // Whose it was, is missing it, and is not judged: that is told of the node.
            tracing::warn!(table = "evidence", row = node, "a row is nobody's, and is left out");
            continue;
        };
        // A row whose numbers do not read back is damaged for its node, and for nobody else.
        let numbers = row.get(3).and_then(|revision| Ok((revision, row.get(4)?)));
        let (revision, evidence_sha256) = numbers.as_ref().copied().unwrap_or_default();
        let runs = numbers
            .is_ok()
            .then(|| json_text(row, 1))
            .transpose()
            .map_err(damaged)?;
        all.push(HeldEvidence {
            node: shared(node),
            runs: runs.unwrap_or_else(|| "its revision or its digest does not read back".to_owned()),
            ima: json_text(row, 2).map_err(damaged)?,
            lengths,
            revision,
            evidence_sha256,
        });
    }
    Ok(all)
}

/// What a node proved last.
pub(super) fn find(path: &Path, connection: &Connection, node: &SpiffeId) -> Result<Option<NodeEvidence>, StoreError> {
    let at = |e: rusqlite::Error| unread::of_key(path, "evidence", node, &e);
    let read = |row: &Row<'_>| {
        Ok(NodeEvidence {
            node: node.clone(),
            judged_at: row.get(0)?,
            runs: json_text(row, 1)?,
            file: json_text(row, 2)?,
            facts: json_text(row, 3)?,
            ima: json_text(row, 4)?,
            earlier: json_text(row, 5)?,
        })
    };
    connection
        .prepare_cached("SELECT judged_at, sighting, file, facts, ima, earlier FROM evidence WHERE node = ?1")
        .and_then(|mut statement| statement.query_row([node.as_str()], read).optional())
        .map_err(at)
}

/// A node's logs from their beginning, by kind; only `kinds`.
pub(super) fn logs(
    path: &Path,
    connection: &Connection,
    node: &SpiffeId,
    kinds: &[u8],
) -> Result<Vec<WholeLog>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut statement = connection
        .prepare_cached("SELECT data FROM evidence_logs WHERE node = ?1 AND kind = ?2 ORDER BY position")
        .map_err(at)?;
    let mut all = Vec::new();
    for kind in kinds {
        let mut log = Vec::new();
        let mut rows = statement.query(params![node.as_str(), kind]).map_err(at)?;
        while let Some(row) = rows.next().map_err(at)? {
            let part = row.get_ref(0).map_err(at)?;
            log.extend_from_slice(part.as_blob().unwrap_or_default());
        }
        all.push((*kind, log));
    }
    Ok(all)
}

/// The facts of at most `limit` nodes whose id is above `after`.
pub(super) fn facts(
    path: &Path,
    connection: &Connection,
    after: &str,
    limit: u32,
) -> Result<Vec<NodeFacts>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut statement = connection
        .prepare_cached("SELECT node, facts, revision FROM evidence WHERE node > ?1 ORDER BY node LIMIT ?2")
        .map_err(at)?;
    let mut rows = statement.query(params![after, limit]).map_err(at)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(at)? {
        let read = row.get::<_, String>(0);
        let read = read.and_then(|node| Ok((node, json_text(row, 1)?, row.get(2)?)));
        let (node, facts, revision) = read.map_err(|e| unread::of_row(path, ("evidence", 1), row, &e))?;
        let node = id(&node)?;
        all.push(NodeFacts { node, facts, revision });
    }
    Ok(all)
}

/// The facts of these nodes, of those that have any.
pub(super) fn facts_of(path: &Path, connection: &Connection, nodes: &[SpiffeId]) -> Result<Vec<NodeFacts>, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let mut statement = connection
        .prepare_cached("SELECT facts, revision FROM evidence WHERE node = ?1")
        .map_err(at)?;
    let mut all = Vec::with_capacity(nodes.len());
    for node in nodes {
        let read = |row: &Row<'_>| Ok((json_text(row, 0)?, row.get(1)?));
        let found = statement.query_row([node.as_str()], read).optional();
        let found = found.map_err(|e| unread::of_key(path, "evidence", node, &e))?;
        all.extend(found.map(|(facts, revision)| NodeFacts {
            node: node.clone(),
            facts,
            revision,
        }));
    }
    Ok(all)
}

/// A JSON text; of one that is no text, words that no reader takes for JSON. So a damaged row is told as its node's, and keeps
/// nobody from reading the others.
fn json_text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(column)?;
    let text = value.as_bytes().ok().and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(text.unwrap_or("not a text in UTF-8").to_owned())
}

fn id(node: &str) -> Result<SpiffeId, StoreError> {
    SpiffeId::parse(node).map_err(|error| json::undecodable(&|| unread::row_of("evidence", node), &error))
}
