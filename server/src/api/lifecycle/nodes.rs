//! Nodes, wherever they stand.

use std::collections::BTreeSet;

use hallmark_api::admin::{
    ChangeNodeRequest, ChangeNodeResponse, ListNodesRequest, ListNodesResponse, Node, NodeApproval,
};
use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Action, AttestedFacts, Node as Row, NodeState, State, decide::ApprovalRules};
use tonic::Status;

use super::{
    page_size,
    place::{Found, Place, Wanted},
};
use crate::{
    api::agent_admin,
    caller::{self, Caller},
    convert::{id_message, next_page},
    journal::{Journal, Unreadable},
    nodes::{self, Ask, Nodes},
};

/// Most nodes on a page; fewer where they are large.
const PAGE: usize = 2000;

/// A page of the nodes of one state, or of all.
///
/// # Errors
/// `InvalidArgument` for an unknown state or a token that is none.
pub(super) fn list(
    journal: &Journal,
    rules: &ApprovalRules,
    request: &ListNodesRequest,
) -> Result<ListNodesResponse, Status> {
    let state = match request.state.as_str() {
        "" => None,
        name => Some(
            NodeState::from_name(name).ok_or_else(|| Status::invalid_argument(format!("unknown state {name:?}")))?,
        ),
    };
    let state_now = journal.state();
    let now = journal.clock().unix();
    let unjudged = journal.unreadable().unjudged(&state_now, now).into_iter().collect();
    if !request.id.is_empty() {
        let mut answer = one(rules, &state_now, &request.id, now)?;
        answer.nodes.iter_mut().for_each(|node| tell_unjudged(node, &unjudged));
        return Ok(answer);
    }
    let after = Place::read(&request.page_token)?;
    let wanted = Wanted {
        of: &state_now,
        state,
        now,
    };
    let size = page_size(request.page_size, PAGE);
    // One more than fits: whether another page follows.
    let mut found = wanted.from(&after, size.saturating_add(1));
    let more = found.len() > size;
    found.truncate(size);
    let node = |found: &Found<'_>| match found {
        Found::Seen(row) => of_row(rules, &state_now, row, now),
        Found::Listed(line) => of_line(rules, &state_now, line),
    };
    let mut nodes = next_page(&mut found.iter().map(node).peekable(), size);
    nodes.iter_mut().for_each(|node| tell_unjudged(node, &unjudged));
    let last = nodes.len().checked_sub(1).and_then(|last| found.get(last));
    let next_page_token = match last {
        Some(last) if more || nodes.len() < found.len() => last.place(&state_now).to_string(),
        _ => String::new(),
    };
    Ok(ListNodesResponse { nodes, next_page_token })
}

/// A node that cannot be judged gets nothing, whatever it was judged to be before.
fn tell_unjudged(node: &mut Node, unjudged: &BTreeSet<SpiffeId>) {
    if node.untrusted_reason.is_empty() && unjudged.iter().any(|id| id.as_str() == node.id) {
        node.untrusted_reason = Unreadable::CODE.to_string();
    }
}

/// The node of this id, if there is one.
fn one(rules: &ApprovalRules, state: &State, id: &str, now: i64) -> Result<ListNodesResponse, Status> {
    let id = SpiffeId::parse(id).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    let listed = || {
        let line = state.inventory().line(&EkId::Spki(NodeId::ek_of(&id)?))?;
        let told = || Node {
            id: id.to_string(),
            ..of_line(rules, state, line)
        };
        line.is_valid_at(now).then(told)
    };
    let node = match state.node(&id) {
        Some(row) => Some(of_row(rules, state, row, now)),
        None => listed(),
    };
    Ok(ListNodesResponse {
        nodes: node.into_iter().collect(),
        next_page_token: String::new(),
    })
}

fn of_line(rules: &ApprovalRules, state: &State, line: &InventoryItem) -> Node {
    Node {
        id: nodes::id_of_line(state, line).map_or_else(String::new, |id| id.to_string()),
        state: NodeState::PreRegistered.as_str().to_owned(),
        ek: line.ek.to_string(),
        owner: line.owner.clone(),
        serial: line.serial.clone(),
        approvals_needed: needed(rules, Some(NodeState::PreRegistered)),
        other_eks: line.other_eks.iter().map(ToString::to_string).collect(),
        ..Node::default()
    }
}

fn of_row(rules: &ApprovalRules, state: &State, row: &Row, now: i64) -> Node {
    let (facts, known) = (AttestedFacts::from_json(&row.facts), state.inventory());
    let line = row
        .ek_sha256
        .and_then(|ek| known.line(&EkId::Spki(ek)))
        .or_else(|| known.line(&EkId::parse(&hex::encode(&facts.ek_name)).ok()?));
    let lifetime = rules.lifetime;
    let in_force = row.ek_sha256.map_or_else(Vec::new, |ek| {
        row.approvals.in_force(&ek, now, lifetime).copied().collect()
    });
    let lapses_after = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let approvals = in_force.into_iter().map(|approval| NodeApproval {
        uid: approval.uid,
        at: approval.at,
        lapses_at: approval.at.saturating_add(lapses_after),
    });
    Node {
        id: row.id.to_string(),
        state: row.state.as_str().to_owned(),
        since: row.since,
        ek: row.ek_sha256.map_or_else(String::new, hex::encode),
        manufacturer: facts.manufacturer,
        model: facts.model,
        class: facts.class,
        enrolled_by: facts.enrolled_by,
        owner: line.map_or_else(String::new, |line| line.owner.clone()),
        serial: line.map_or_else(String::new, |line| line.serial.clone()),
        approvals: approvals.collect(),
        approvals_needed: needed(rules, Some(row.state)),
        svid_expires_at: row.expires_at(),
        untrusted_reason: row.untrusted_reason.clone(),
        other_eks: row
            .ek_sha256
            .map_or_else(Vec::new, |ek| state.listed_with(&ek).into_iter().collect()),
    }
}

/// How many approvals a node in this state needs before it becomes active.
fn needed(rules: &ApprovalRules, state: Option<NodeState>) -> u32 {
    match state {
        Some(NodeState::PreRegistered | NodeState::Pending) => u32::try_from(rules.approvers.count()).unwrap_or(0),
        _ => 0,
    }
}

/// One step in the life of a node.
///
/// # Errors
/// `InvalidArgument` for what cannot be read, `NotFound` for an unknown node, `FailedPrecondition` when its state does
/// not allow it.
pub(super) async fn change(
    nodes: &Nodes,
    by: &Caller,
    request: ChangeNodeRequest,
) -> Result<ChangeNodeResponse, Status> {
    let action = Action::from_name(&request.action)
        .filter(|action| action.is_of_operators())
        .ok_or_else(|| Status::invalid_argument(format!("unknown action {:?}", request.action)))?;
    let id = SpiffeId::parse(&request.id).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    let id = agent_admin::agent_id(nodes.trust_domain(), Some(&id_message(&id)))?;
    let ask = Ask {
        id: &id,
        action,
        by,
        reason: caller::reason(&request.reason)?,
        dry_run: request.dry_run,
    };
    let changed = nodes.change(ask).await;
    let changed = changed.map_err(|failed| failed.status(&id))?;
    let name = |state: Option<NodeState>| state.map_or("", NodeState::as_str).to_owned();
    Ok(ChangeNodeResponse {
        id: id.to_string(),
        from: name(changed.from),
        to: name(changed.to),
        approvals: u32::try_from(changed.approvals).unwrap_or(u32::MAX),
        approvals_needed: needed(nodes.approval_rules(), changed.to),
    })
}
