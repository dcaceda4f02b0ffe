//! What operators do with a node.

use std::sync::Arc;

use hallmark_node::NodeId;
use hallmark_reason::{Coded, Report};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Action, Approval, Approvals, LifecycleError, NodeState, RefusedStep, Role, gives_back, step};
use hallmark_store::{Agent, Change, Outcome, Record, RecordKind, StoreError};

use super::links;
use crate::{
    agents::ChangeError,
    caller::{self, Caller, RoleError, RoleHolder},
    state::Server,
};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Of which node.
    pub id: &'a SpiffeId,
    /// What.
    pub action: Action,
    /// Who asks.
    pub by: &'a Caller,
    /// Why, in their words.
    pub reason: &'a str,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The state before.
    pub from: Option<NodeState>,
    /// The state after; `None` for a node that is forgotten.
    pub to: Option<NodeState>,
    /// Approvals that count now.
    pub approvals: usize,
}

/// Why nothing changed.
#[derive(Debug)]
pub enum ChangeFailed {
    /// The node's state does not allow it.
    Refused(LifecycleError),
    /// The role of whoever asks does not allow it.
    Role(RoleError),
    /// The store did not take it.
    Store(StoreError),
}

impl ChangeFailed {
    /// What the caller hears who asked for a change of `node`.
    #[must_use]
    pub fn status(&self, node: &SpiffeId) -> tonic::Status {
        match self {
            Self::Refused(error @ LifecycleError::Unknown { .. }) => {
                tonic::Status::not_found(format!("{}: agent not found", error.code()))
            }
            Self::Refused(error @ LifecycleError::ApproverRefused { .. }) => {
                tonic::Status::permission_denied(Report(error).to_string())
            }
            Self::Refused(error) => {
                let node = node.as_str();
                tonic::Status::failed_precondition(Report(&RefusedStep { error, node }).to_string())
            }
            Self::Role(error) => error.clone().into(),
            Self::Store(error) => crate::errors::store_failed(error),
        }
    }
}

/// Changes a node as an operator asks, with the record of it: both or neither. Other nodes that operators list as the same
/// machine go the same way in the same step, as far as their states allow.
///
/// # Errors
/// [`ChangeFailed`]; then nothing was changed, but that the first of two administrators asked is on record.
pub async fn change(server: &Server, ask: Ask<'_>) -> Result<Changed, ChangeFailed> {
    let approver = match ask.action {
        Action::Approve => Some(server.lifecycle.approver_rule.approver(ask.by).await),
        _ => None,
    };
    let approver = approver.transpose().map_err(ChangeFailed::Refused)?;
    // Nobody links EKs meanwhile, or one that is linked just now would be left out.
    let _turn = server.lifecycle.writer.lock().await;
    let siblings = match ask.action {
        Action::Approve => Vec::new(),
        _ => NodeId::ek_of(ask.id).map_or_else(Vec::new, |ek| links::siblings(server, &ek)),
    };
    change_all(server, &ask, approver, &siblings).await
}

/// Changes the node and those of `siblings` that are there. The inventory's writer is to be held.
pub(super) async fn change_all(
    server: &Server,
    ask: &Ask<'_>,
    approver: Option<u32>,
    siblings: &[SpiffeId],
) -> Result<Changed, ChangeFailed> {
    let now = server.clock.unix();
    let nodes: Vec<SpiffeId> = std::iter::once(ask.id).chain(siblings).cloned().collect();
    let mut outcome = Err(ChangeFailed::Store(StoreError::Closed));
    let decide = |rows: &[Option<Arc<Agent>>]| {
        let steps = steps(server, ask, approver, nodes.iter().zip(rows), now)?;
        let Some((_, _, done)) = steps.first() else {
            return Err(ChangeFailed::Refused(LifecycleError::Unknown { action: ask.action }));
        };
        let gives_back = steps.iter().any(|(_, _, done)| gives_back(done.from, ask.action));
        let by = match permitted(server, ask, gives_back, now).map_err(ChangeFailed::Role)? {
            Permitted::Alone => ask.by.actor(),
            Permitted::With(other) => format!("{other} and {}", ask.by.actor()),
            Permitted::NotYet(error) => {
                outcome = Err(ChangeFailed::Role(error));
                let record = asked(now, ask, done.from);
                return Ok((Vec::new(), vec![Change::Record(record)]));
            }
        };
        outcome = Ok(*done);
        if ask.dry_run {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut records = Vec::with_capacity(steps.len());
        for (id, _, done) in &steps {
            tracing::info!(agent = %id, by, action = %ask.action, "a node is changed by an administrator");
            let record = record(now, id, ask.action, &by, done.from, done.to, ask.reason);
            records.push(Change::Record(record));
        }
        let after = steps.into_iter().map(|(id, row, _)| (id, row.map(Box::new)));
        Ok((after.collect(), records))
    };
    let of: Vec<SpiffeId> = ask
        .by
        .role_holder()
        .map(|holder| holder.agent.clone())
        .into_iter()
        .collect();
    let written = server
        .agents
        .change_together(&*server.store, &nodes, &of, decide, || ())
        .await;
    written.map_err(|error| match error {
        ChangeError::Refused(failed) => failed,
        ChangeError::Store(error) => ChangeFailed::Store(error),
    })?;
    for id in &nodes {
        match (&outcome, ask.by.role_holder()) {
            (Ok(_), _) if !ask.dry_run => server.lifecycle.first_requests.forget(id),
            // Whichever of the machine's nodes the second one names.
            (Err(ChangeFailed::Role(_)), Some(first)) => {
                let what = (id.clone(), ask.action);
                server.lifecycle.first_requests.note(what, first, now);
            }
            _ => {}
        }
    }
    outcome
}

/// A node, its row afterwards (`None`: it is forgotten), and what is told of it.
type Step = (SpiffeId, Option<Agent>, Changed);

/// What becomes of the first of the nodes, and of those of its siblings that are there and may go the same way.
fn steps<'a>(
    server: &Server,
    ask: &Ask<'_>,
    approver: Option<u32>,
    mut nodes: impl Iterator<Item = (&'a SpiffeId, &'a Option<Arc<Agent>>)>,
    now: i64,
) -> Result<Vec<Step>, ChangeFailed> {
    let step = |(id, row): (&'a SpiffeId, &'a Option<Arc<Agent>>)| {
        let ask = Ask { id, ..ask.clone() };
        let (after, done) = decide(server, &ask, approver, row.as_deref(), now)?;
        Ok((id.clone(), after, done))
    };
    let mut steps = Vec::from_iter(nodes.next().map(&step).transpose()?);
    let siblings = nodes.filter(|(_, row)| row.is_some()).map(step);
    steps.extend(siblings.filter_map(Result::ok));
    Ok(steps)
}

/// Whether an operator may do what the node's state allows.
enum Permitted {
    Alone,
    /// Beside another administrator, who asked before.
    With(RoleHolder),
    /// Once another administrator asks as well.
    NotYet(RoleError),
}

/// What operators took from a machine, one administrator over TLS does not give back alone: whoever has the machine of one
/// would have all. At the admin socket each operator may.
///
/// # Errors
/// When whoever asks is no administrator any more.
fn permitted(server: &Server, ask: &Ask<'_>, gives_back: bool, now: i64) -> Result<Permitted, RoleError> {
    let Some(by) = ask.by.role_holder() else {
        return Ok(Permitted::Alone);
    };
    caller::stands(server, by, Role::Admin)?;
    if !gives_back {
        return Ok(Permitted::Alone);
    }
    let what = (ask.id.clone(), ask.action);
    let lifetime = server.lifecycle.approval_lifetime();
    let still = |first: &RoleHolder| caller::stands(server, first, Role::Admin).is_ok();
    let is_same = |one: &SpiffeId, other: &SpiffeId| one == other || links::are_one_machine(server, one, other);
    let requests = &server.lifecycle.first_requests;
    let first = requests.find(&what, by, (now, lifetime), still, is_same);
    Ok(first.map_or_else(
        || {
            Permitted::NotYet(RoleError::SecondNeeded {
                action: ask.action,
                node: ask.id.clone(),
                lifetime,
            })
        },
        Permitted::With,
    ))
}

/// The record of the first of two requests.
fn asked(now: i64, ask: &Ask<'_>, state: Option<NodeState>) -> Record {
    let by = ask.by.actor();
    let record = record(now, ask.id, ask.action, &by, state, state, ask.reason);
    Record {
        detail: record
            .detail
            .replacen(act(ask.action), &format!("{}-asked", act(ask.action)), 1),
        ..record
    }
}

/// The node's row afterwards (`None`: it is forgotten), and what is told of it.
fn decide(
    server: &Server,
    ask: &Ask<'_>,
    approver: Option<u32>,
    before: Option<&Agent>,
    now: i64,
) -> Result<(Option<Agent>, Changed), ChangeFailed> {
    let ek = before.and_then(|row| row.ek_sha256).or_else(|| NodeId::ek_of(ask.id));
    let from = match (before, ek) {
        (None, Some(ek)) => server.lifecycle.state(None, &ek, now),
        (row, _) => row.map(|row| row.state),
    };
    let to = step(from, ask.action).map_err(ChangeFailed::Refused)?;
    let row = match to {
        None => None,
        Some(to) => {
            let row = before.cloned().unwrap_or_else(|| unseen(ask.id, ek));
            Some(changed(server, ask, approver, row, to, now).map_err(ChangeFailed::Refused)?)
        }
    };
    let approvals = row
        .as_ref()
        .map_or(0, |row| server.lifecycle.approvals_in_force(row, now));
    Ok((row, Changed { from, to, approvals }))
}

fn changed(
    server: &Server,
    ask: &Ask<'_>,
    approver: Option<u32>,
    row: Agent,
    to: NodeState,
    now: i64,
) -> Result<Agent, LifecycleError> {
    let since = if row.state == to && row.since > 0 {
        row.since
    } else {
        now
    };
    let row = Agent {
        state: to,
        since,
        ..row
    };
    Ok(match ask.action {
        Action::Approve => approved(server, approver, row, now)?,
        // The newest SVID stays noted: when it ends is still worth showing, and an expiry of 0 would let clients that
        // tidy up expired agents delete the node, and with it what keeps it out.
        Action::Ban | Action::Suspend | Action::Retire => Agent {
            current: row.next.or(row.current),
            next: None,
            approvals: Approvals::default(),
            ..row
        },
        // What it held before is not taken up again: the machine proves itself anew.
        Action::Resume | Action::Unban => Agent {
            current: None,
            next: None,
            approvals: Approvals::default(),
            ..row
        },
        _ => row,
    })
}

fn approved(server: &Server, approver: Option<u32>, row: Agent, now: i64) -> Result<Agent, LifecycleError> {
    let (Some(uid), Some(ek_sha256)) = (approver, row.ek_sha256) else {
        return Err(LifecycleError::ApproverUnknown);
    };
    let approval = Approval {
        uid,
        ek_sha256,
        at: now,
    };
    let mut approvals = row.approvals.clone();
    approvals.approve(approval, server.lifecycle.approval_lifetime())?;
    Ok(Agent { approvals, ..row })
}

/// A row for a node that only the inventory knew.
fn unseen(id: &SpiffeId, ek_sha256: Option<[u8; 32]>) -> Agent {
    Agent {
        id: id.clone(),
        attestation_type: "tpm2".to_owned(),
        ek_sha256,
        ak_name: Vec::new(),
        current: None,
        next: None,
        selectors: std::collections::BTreeSet::new(),
        state: NodeState::PreRegistered,
        since: 0,
        approvals: Approvals::default(),
        distrust: String::new(),
        can_reattest: true,
        agent_version: String::new(),
        facts: String::new(),
        attested_at: 0,
    }
}

/// The record of a step in a node's life.
pub(crate) fn record(
    at: i64,
    id: &SpiffeId,
    action: Action,
    by: &str,
    from: Option<NodeState>,
    to: Option<NodeState>,
    reason: &str,
) -> Record {
    let name = |state: Option<NodeState>| state.map_or("unknown", NodeState::as_str);
    let detail = serde_json::json!({
        "act": act(action),
        "by": by,
        "from": name(from),
        "to": name(to),
        "reason": reason,
    });
    Record {
        at,
        kind: RecordKind::Admin,
        subject: id.as_str().to_owned(),
        outcome: Outcome::Done,
        code: String::new(),
        detail: detail.to_string(),
    }
}

const fn act(action: Action) -> &'static str {
    match action {
        Action::List => "node-listed",
        Action::Readmit => "node-readmitted",
        Action::Unlist => "node-unlisted",
        Action::Prove => "node-pending",
        Action::Admit => "node-admitted",
        Action::Approve => "node-approved",
        Action::Suspend => "node-suspended",
        Action::Resume => "node-resumed",
        Action::Ban => "agent-banned",
        Action::Unban => "node-unbanned",
        Action::Retire => "node-retired",
        Action::Evict => "agent-deleted",
    }
}
