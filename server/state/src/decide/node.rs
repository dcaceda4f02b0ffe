//! What operators do with a node.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::NodeId;
use hallmark_spiffe::SpiffeId;

use super::{ApprovalRules, RoleGap, RoleHolder, admission::unseen, role_stands};
use crate::{
    Action, Approval, Approvals, Change, Decision, Event, FirstRequest, Key, LifecycleError, Node, NodeState, Role,
    View, gives_back, step,
};

/// First requests kept of one node and action: more than there are administrators who disagree.
const MAX_REQUESTS: usize = 16;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// As exactly as it is known, for the record.
    pub actor: &'a str,
    /// An administrator over TLS; `None` at the admin socket.
    pub over_tls: Option<&'a RoleHolder>,
    /// The SPIFFE IDs that the configuration makes administrators.
    pub configured: &'a BTreeSet<SpiffeId>,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy)]
pub struct NodeAsk<'a> {
    /// Of which node.
    pub id: &'a SpiffeId,
    /// What.
    pub action: Action,
    /// The user that approves, for an approval.
    pub approver: Option<u32>,
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

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOutcome {
    /// It is done, by these.
    Done(Changed, String),
    /// It waits for a second administrator; that it was asked for is on record.
    SecondNeeded,
}

/// Why nothing changed.
#[derive(Debug, Clone, PartialEq)]
pub enum StepRefusal {
    /// The node's state does not allow it.
    Lifecycle(LifecycleError),
    /// Whoever asks is no administrator any more.
    Role(RoleGap),
}

/// Changes a node as an operator asks. Other nodes that operators list as the same machine go the same way in the same step,
/// as far as their states allow.
///
/// # Errors
/// [`StepRefusal`].
pub fn change_node(
    view: View<'_>,
    ask: &NodeAsk<'_>,
    by: &Asker<'_>,
    rules: &ApprovalRules,
    now: i64,
) -> Result<(Decision, NodeOutcome), StepRefusal> {
    let siblings = match (ask.action, NodeId::ek_of(ask.id)) {
        (Action::Approve, _) | (_, None) => Vec::new(),
        (_, Some(ek)) => {
            // Whoever links an EK just now would be left out.
            view.rests_on(Key::Machines);
            view.unprotected().siblings(&ek)
        }
    };
    let mut steps = vec![step_of(&view, ask, ask.id, rules, now).map_err(StepRefusal::Lifecycle)?];
    let there = siblings.iter().filter(|id| view.node(id).is_some());
    steps.extend(there.filter_map(|id| step_of(&view, ask, id, rules, now).ok()));
    let Some(first) = steps.first() else {
        return Err(StepRefusal::Lifecycle(LifecycleError::Unknown { action: ask.action }));
    };
    let done = first.done;
    let takes_two = steps.iter().any(|step| gives_back(step.done.from, ask.action));
    let actor = match permitted(&view, ask, by, takes_two, rules, now).map_err(StepRefusal::Role)? {
        Permitted::Alone => by.actor.to_owned(),
        Permitted::With(other) => format!("{other} and {}", by.actor),
        Permitted::NotYet(first) => {
            let nodes = std::iter::once(ask.id).chain(&siblings);
            let changes = nodes.map(|node| request(&view, node, ask.action, &first, rules, now));
            let act = format!("{}-asked", ask.action.act());
            let event = Event::node_step(ask.id, &act, done.from, done.from, ask.reason);
            let changes = changes.collect();
            return Ok((view.decide(changes, vec![event]), NodeOutcome::SecondNeeded));
        }
    };
    if ask.dry_run {
        return Ok((view.decide(Vec::new(), Vec::new()), NodeOutcome::Done(done, actor)));
    }
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    for step in steps {
        events.push(Event::node_step(
            &step.id,
            ask.action.act(),
            step.done.from,
            step.done.to,
            ask.reason,
        ));
        changes.extend(forget_requests(&view, &step.id));
        changes.push(match step.after {
            Some(node) => Change::PutNode(Arc::new(node)),
            None => Change::DeleteNode(step.id),
        });
    }
    Ok((view.decide(changes, events), NodeOutcome::Done(done, actor)))
}

/// What becomes of one node.
struct Step {
    id: SpiffeId,
    /// Its row afterwards; `None`: it is forgotten.
    after: Option<Node>,
    done: Changed,
}

fn step_of(
    view: &View<'_>,
    ask: &NodeAsk<'_>,
    id: &SpiffeId,
    rules: &ApprovalRules,
    now: i64,
) -> Result<Step, LifecycleError> {
    let before = view.node(id).map(|node| &**node);
    let ek = before.and_then(|node| node.ek_sha256).or_else(|| NodeId::ek_of(id));
    let from = match (before, ek) {
        (None, Some(ek)) => view.standing(None, &ek, now),
        (node, _) => node.map(|node| node.state),
    };
    let to = step(from, ask.action)?;
    let after = to.map(|to| {
        let node = before.cloned().unwrap_or_else(|| unseen(id, ek));
        changed(ask, node, to, rules, now)
    });
    let after = after.transpose()?;
    let approvals = after.as_ref().map_or(0, |node| rules.in_force(node, now));
    Ok(Step {
        id: id.clone(),
        after,
        done: Changed { from, to, approvals },
    })
}

fn changed(
    ask: &NodeAsk<'_>,
    node: Node,
    to: NodeState,
    rules: &ApprovalRules,
    now: i64,
) -> Result<Node, LifecycleError> {
    let since = if node.state == to && node.since > 0 {
        node.since
    } else {
        now
    };
    let node = Node {
        state: to,
        since,
        ..node
    };
    Ok(match ask.action {
        Action::Approve => approved(ask.approver, node, rules, now)?,
        // The newest SVID stays noted: when it ends is still worth showing, and an expiry of 0 would let clients that
        // tidy up expired agents delete the node, and with it what keeps it out.
        Action::Ban | Action::Suspend | Action::Retire => Node {
            current: node.next.or(node.current),
            next: None,
            approvals: Approvals::default(),
            ..node
        },
        // What it held before is not taken up again: the machine proves itself anew.
        Action::Resume | Action::Unban => Node {
            current: None,
            next: None,
            approvals: Approvals::default(),
            ..node
        },
        _ => node,
    })
}

fn approved(approver: Option<u32>, node: Node, rules: &ApprovalRules, now: i64) -> Result<Node, LifecycleError> {
    let (Some(uid), Some(ek_sha256)) = (approver, node.ek_sha256) else {
        return Err(LifecycleError::ApproverUnknown);
    };
    let approval = Approval {
        uid,
        ek_sha256,
        at: now,
    };
    let mut approvals = node.approvals.clone();
    approvals.approve(approval, rules.lifetime)?;
    Ok(Node { approvals, ..node })
}

/// Whether an operator may do what the node's state allows.
enum Permitted {
    Alone,
    /// Beside another administrator, who asked before.
    With(RoleHolder),
    /// Once another administrator asks as well.
    NotYet(RoleHolder),
}

/// What operators took from a machine, one administrator over TLS does not give back alone: whoever has the machine of one
/// would have all. At the admin socket each operator may.
fn permitted(
    view: &View<'_>,
    ask: &NodeAsk<'_>,
    by: &Asker<'_>,
    gives_back: bool,
    rules: &ApprovalRules,
    now: i64,
) -> Result<Permitted, RoleGap> {
    let Some(holder) = by.over_tls else {
        return Ok(Permitted::Alone);
    };
    role_stands(view, holder, Role::Admin, by.configured, now)?;
    if !gives_back {
        return Ok(Permitted::Alone);
    }
    view.rests_on(Key::Machines);
    let state = view.unprotected();
    let is_same = |other: &SpiffeId| *other == holder.agent || state.are_one_machine(other, &holder.agent);
    let others = view.requests(ask.id, ask.action).iter();
    let mut others = others.filter(|it| counts(it, rules, now)).map(holder_of);
    let other = others.find(|other| {
        other.id != holder.id
            && !is_same(&other.agent)
            && role_stands(view, other, Role::Admin, by.configured, now).is_ok()
    });
    Ok(other.map_or_else(|| Permitted::NotYet(holder.clone()), Permitted::With))
}

fn holder_of(request: &FirstRequest) -> RoleHolder {
    RoleHolder {
        id: request.id.clone(),
        agent: request.agent.clone(),
        issued_at: request.issued_at,
    }
}

/// Within the lifetime of an approval, and not of the future.
fn counts(request: &FirstRequest, rules: &ApprovalRules, now: i64) -> bool {
    let lifetime = i64::try_from(rules.lifetime.as_secs()).unwrap_or(i64::MAX);
    request.at <= now && now.saturating_sub(request.at) < lifetime
}

/// A first request is noted; one of the same administrator on the same machine gives way.
fn request(
    view: &View<'_>,
    node: &SpiffeId,
    action: Action,
    by: &RoleHolder,
    rules: &ApprovalRules,
    now: i64,
) -> Change {
    let waiting = view.requests(node, action).iter();
    let is_other = |it: &&FirstRequest| (&it.id, &it.agent) != (&by.id, &by.agent) && counts(it, rules, now);
    let mut requests: Vec<FirstRequest> = waiting.filter(is_other).cloned().collect();
    if requests.len() >= MAX_REQUESTS {
        requests.remove(0);
    }
    requests.push(FirstRequest {
        id: by.id.clone(),
        agent: by.agent.clone(),
        issued_at: by.issued_at,
        at: now,
    });
    Change::PutRequests {
        node: node.clone(),
        action,
        requests,
    }
}

/// What was asked of a node that changes counts no more.
fn forget_requests(view: &View<'_>, node: &SpiffeId) -> Vec<Change> {
    // Also where there are none: one that comes meanwhile is of before the step.
    view.rests_on(Key::Requests(node.clone()));
    let requested = view.unprotected().requested(node);
    let forget = |action| Change::PutRequests {
        node: node.clone(),
        action,
        requests: Vec::new(),
    };
    requested.map(forget).collect()
}
