//! Rows of `agents`.

use hallmark_spiffe::SpiffeId;
use hallmark_state::NodeState;
use rusqlite::{Connection, Row, params};

use super::json;
use crate::{Agent, NodeSvid, StoreError};

/// Adds or replaces an agent.
pub(super) fn put(connection: &Connection, agent: &Agent) -> rusqlite::Result<()> {
    let serial = |svid: Option<NodeSvid>| svid.map(|s| s.serial.to_be_bytes());
    let expiry = |svid: Option<NodeSvid>| svid.map(|s| s.expires_at);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO agents (id, attestation_type, ek_sha256, ak_name, serial, expires_at, \
             next_serial, next_expires_at, selectors, state, can_reattest, agent_version, facts, attested_at, \
             since, approvals, distrust) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            agent.id.as_str(),
            agent.attestation_type,
            agent.ek_sha256,
            agent.ak_name,
            serial(agent.current),
            expiry(agent.current),
            serial(agent.next),
            expiry(agent.next),
            json::selectors(&agent.selectors),
            agent.state.as_str(),
            agent.can_reattest,
            agent.agent_version,
            agent.facts,
            agent.attested_at,
            agent.since,
            json::approvals(&agent.approvals),
            agent.distrust,
        ])
        .map(|_| ())
}

/// The columns of an agent, in the order that [`read`] takes them.
pub(super) const COLUMNS: &str = "id, attestation_type, ek_sha256, ak_name, serial, expires_at, next_serial, \
     next_expires_at, selectors, state, can_reattest, agent_version, facts, attested_at, since, approvals, distrust";

/// A row of `agents` with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Agent, StoreError>> {
    let id: String = row.get(0)?;
    let (selectors, state, approvals): (String, String, String) = (row.get(8)?, row.get(9)?, row.get(15)?);
    let what = || format!("agent {id}");
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
    Ok(Ok(Agent {
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
        distrust: row.get(16)?,
    }))
}

fn svid(serial: Option<[u8; 16]>, expires_at: Option<i64>) -> Option<NodeSvid> {
    Some(NodeSvid {
        serial: u128::from_be_bytes(serial?),
        expires_at: expires_at?,
    })
}
