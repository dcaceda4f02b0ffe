//! One node, with what was last proved of it.

use hallmark_api::admin::{GetNodeResponse, PcrValue, Reason};
use hallmark_node::NodeId;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{AttestedFacts, Node, NodeState, PcrFact, ReasonFact};
use tonic::Status;

use crate::journal::Journal;

/// Everything that is known of the node `id`.
///
/// # Errors
/// `InvalidArgument` for what is no id, `NotFound` for an unknown one.
pub(super) fn get(journal: &Journal, id: &str) -> Result<GetNodeResponse, Status> {
    let id = SpiffeId::parse(id).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    let now = journal.clock().unix();
    match journal.node(&id) {
        Some(agent) => Ok(message(&agent, now)),
        None => listed(journal, &id, now).ok_or_else(|| Status::not_found("agent not found")),
    }
}

/// A node that the inventory alone knows.
fn listed(journal: &Journal, id: &SpiffeId, now: i64) -> Option<GetNodeResponse> {
    let ek = NodeId::ek_of(id)?;
    let state = journal.state().standing(None, &ek, now)?;
    Some(GetNodeResponse {
        id: id.as_str().to_owned(),
        state: state.as_str().to_owned(),
        ek_sha256: hex::encode(ek),
        ..GetNodeResponse::default()
    })
}

fn message(agent: &Node, now: i64) -> GetNodeResponse {
    let facts = AttestedFacts::from_json(&agent.facts);
    let pcr = |fact: PcrFact| PcrValue {
        bank: fact.bank,
        pcr: fact.pcr,
        digest: hex::encode(fact.digest),
    };
    let reason = |fact: ReasonFact| Reason {
        code: fact.code,
        message: fact.text,
    };
    GetNodeResponse {
        id: agent.id.as_str().to_owned(),
        state: state(agent, now).to_owned(),
        ek_sha256: hex::encode(facts.ek_sha256),
        ek_name: hex::encode(facts.ek_name),
        ek_issuer: facts.ek_issuer,
        ek_serial: facts.ek_serial,
        ek_not_after: facts.ek_not_after,
        enrolled_by: facts.enrolled_by,
        manufacturer: facts.manufacturer,
        model: facts.model,
        firmware_version: facts.firmware_version,
        class: facts.class,
        ak_name: hex::encode(facts.ak_name),
        svid_key_sha256: hex::encode(facts.svid_key_sha256),
        nonce: hex::encode(facts.nonce),
        binding: hex::encode(facts.binding),
        pcrs: facts.pcrs.into_iter().map(pcr).collect(),
        clock: facts.clock,
        reset_count: facts.reset_count,
        restart_count: facts.restart_count,
        verdict: facts.verdict,
        reasons: facts.reasons.into_iter().map(reason).collect(),
        attested_at: agent.attested_at,
        svid_serial: facts.svid_serial,
        svid_not_after: facts.svid_not_after,
        authority_key_label: facts.authority_key_label,
        selectors: agent.selectors.iter().map(ToString::to_string).collect(),
        agent_version: agent.agent_version.clone(),
        ak_activated: facts.ak_activated,
    }
}

fn state(agent: &Node, now: i64) -> &'static str {
    match agent.state {
        // One that did not renew.
        NodeState::Active if agent.has_expired(now) => "expired",
        state => state.as_str(),
    }
}
