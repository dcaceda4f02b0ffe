//! Rows of `agents`.

use hallmark_node::NodeId;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Appraised, Node, NodeState, NodeSvid};
use rusqlite::{Connection, Row, params};

use super::{json, unread};
use crate::{NODE_ROW_DAMAGED, StoreError};

/// Adds or replaces an node.
pub(super) fn put(connection: &Connection, node: &Node) -> rusqlite::Result<()> {
    let serial = |svid: Option<NodeSvid>| svid.map(|s| s.serial.to_be_bytes());
    let expiry = |svid: Option<NodeSvid>| svid.map(|s| s.expires_at);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO agents (id, attestation_type, ek_sha256, ak_name, serial, expires_at, \
             next_serial, next_expires_at, selectors, state, can_reattest, agent_version, facts, attested_at, \
             since, approvals, distrust, appraised_rules, stale_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            node.id.as_str(),
            node.attestation_type,
            node.ek_sha256,
            node.ak_name,
            serial(node.current),
            expiry(node.current),
            serial(node.next),
            expiry(node.next),
            json::selectors(&node.selectors),
            node.state.as_str(),
            node.can_reattest,
            node.agent_version,
            node.facts,
            node.attested_at,
            node.since,
            json::approvals(&node.approvals),
            node.untrusted_reason,
            node.appraised.rules,
            node.appraised.stale_at,
        ])
        .map(|_| ())
}

/// Notes by what a node was judged; gives how many nodes that were.
pub(super) fn put_appraised(connection: &Connection, id: &SpiffeId, appraised: Appraised) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE agents SET appraised_rules = ?2, stale_at = ?3 WHERE id = ?1")?
        .execute(params![id.as_str(), appraised.rules, appraised.stale_at])
}

/// Removes a node; gives how many there were.
pub(super) fn delete(connection: &Connection, id: &SpiffeId) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM agents WHERE id = ?1")?
        .execute([id.as_str()])
}

/// The columns of a node, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "id, attestation_type, ek_sha256, ak_name, serial, expires_at, next_serial, \
     next_expires_at, selectors, state, can_reattest, agent_version, facts, attested_at, since, approvals, distrust, \
     appraised_rules, stale_at";

/// A row of `agents` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Node, StoreError>> {
    let id: String = row.get(0)?;
    let (selectors, state, approvals): (String, String, String) = (row.get(8)?, row.get(9)?, row.get(15)?);
    let what = || unread::row_of("agents", &id);
    let parsed = SpiffeId::parse(&id)
        .map_err(|e| json::undecodable(&what, &e))
        .and_then(|id| {
            let state = NodeState::from_name(&state).ok_or_else(|| StoreError::Undecodable {
                what: what(),
                reason: format!("state {state}"),
            })?;
            let approvals = json::parse_approvals(&approvals, what)?;
            Ok((id, json::parse_selectors(&selectors, what)?, state, approvals))
        });
    let (id, selectors, state, approvals) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Err(e)),
    };
    Ok(Ok(Node {
        id,
        attestation_type: row.get(1)?,
        ek_sha256: row.get(2)?,
        ak_name: row.get(3)?,
        current: svid(row.get(4)?, row.get(5)?),
        next: svid(row.get(6)?, row.get(7)?),
        selectors,
        state,
        since: row.get(14)?,
        approvals,
        can_reattest: row.get(10)?,
        agent_version: row.get(11)?,
        facts: row.get(12)?,
        attested_at: row.get(13)?,
        untrusted_reason: row.get(16)?,
        appraised: Appraised {
            rules: row.get(17)?,
            stale_at: row.get(18)?,
        },
    }))
}

/// What counts in the place of a row that does not read back; `None` where not even the node is known from it.
pub(super) fn of_damaged(row: &Row<'_>, trust_domain: &TrustDomain) -> Option<Node> {
    let id = SpiffeId::parse(&row.get::<_, String>(0).ok()?).ok()?;
    let ek = NodeId::ek_of(&id)?;
    if *NodeId::new(trust_domain, &ek).ok()?.spiffe_id() != id {
        return None;
    }
    let state = row.get::<_, String>(9).ok();
    let state = state.and_then(|state| NodeState::from_name(&state));
    Some(Node::of_damaged_row(id, ek, state, NODE_ROW_DAMAGED.as_str()))
}

fn svid(serial: Option<[u8; 16]>, expires_at: Option<i64>) -> Option<NodeSvid> {
    Some(NodeSvid {
        serial: u128::from_be_bytes(serial?),
        expires_at: expires_at?,
    })
}
