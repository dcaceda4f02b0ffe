//! Whether a node whose TPM proved itself is let in.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_spiffe::SpiffeId;

use crate::{Action, Appraised, Approvals, Approvers, Change, Decision, Event, LinkError, Node, NodeState, View, step};

/// Nodes that wait and were never let in. Each has a TPM that its maker or the inventory vouches for; beyond this many
/// they are refused without being remembered.
const MAX_PENDING: usize = 10_000;

/// How new nodes are approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalRules {
    /// How many operators approve a new node.
    pub approvers: Approvers,
    /// How long an approval counts.
    pub lifetime: Duration,
}

impl ApprovalRules {
    /// How many approvals of a node count at `now` (Unix seconds).
    #[must_use]
    pub fn in_force(&self, node: &Node, now: i64) -> usize {
        node.ek_sha256
            .map_or(0, |ek| node.approvals.in_force(&ek, now, self.lifetime).count())
    }
}

/// Why a node is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// An operator has put it out, and it stands here.
    Out(NodeState),
    /// Approvals are missing.
    Pending {
        /// How many are needed.
        needed: usize,
        /// How many were given.
        found: usize,
    },
    /// Its machine is another node, which stands here; `None` for one that was evicted.
    OtherNode(LinkError, Option<NodeState>),
}

/// Refuses a node that an operator has put out, before it costs anything.
///
/// # Errors
/// For a node that is suspended, banned or retired.
pub fn require_not_blocked(node: Option<&Node>) -> Result<(), Admission> {
    match node.map(|node| node.state) {
        Some(state) if step(Some(state), Action::Admit).is_err() => Err(Admission::Out(state)),
        _ => Ok(()),
    }
}

/// Whether the node may become or stay active at `now` (Unix seconds).
///
/// # Errors
/// When an operator has put it out, it is another node's machine, or approvals are missing.
pub fn admit(
    view: &View<'_>,
    node: Option<&Node>,
    ek: &[u8; 32],
    rules: &ApprovalRules,
    now: i64,
) -> Result<(), Admission> {
    require_not_blocked(node)?;
    require_no_other(view, ek, node)?;
    let approvals = node.map(|node| &node.approvals);
    let found = approvals.map_or(0, |all| all.in_force(ek, now, rules.lifetime).count());
    let needed = rules.approvers.count();
    if found >= needed || node.is_some_and(|node| node.state.is_served()) {
        return Ok(());
    }
    Err(Admission::Pending { needed, found })
}

/// Refuses a node where another one of the same machine stands in its way.
///
/// # Errors
/// With the other node.
pub fn require_no_other(view: &View<'_>, ek: &[u8; 32], own: Option<&Node>) -> Result<(), Admission> {
    let others = view.machines().listed_with(ek, &[]);
    let mut nodes = others.iter().filter_map(|other| Some((other, view.node_of_ek(other)?)));
    match nodes.find(|(_, node)| stands_in_the_way(own, node)) {
        None => Ok(()),
        Some((other, node)) => {
            let (other, shown) = (*other, *ek);
            Err(Admission::OtherNode(
                LinkError::OtherEk { other, shown },
                Some(node.state),
            ))
        }
    }
}

/// Who is out keeps the machine out. Of two that are in, which is so only where they were linked later, the first stays, and
/// one that is in service before one that waits. One that never proved itself is in nobody's way.
fn stands_in_the_way(own: Option<&Node>, other: &Node) -> bool {
    let is_in = |node: &Node| matches!(node.state, NodeState::Pending | NodeState::Active);
    match other.state {
        NodeState::PreRegistered => false,
        NodeState::Pending | NodeState::Active => {
            let rank = |node: &Node| (node.state != NodeState::Active, node.since, node.id.clone());
            let came_later = |own: &Node| rank(other) < rank(own);
            !other.ak_name.is_empty() && own.is_none_or(|own| !is_in(own) || came_later(own))
        }
        NodeState::Suspended | NodeState::Banned | NodeState::Retired => true,
    }
}

/// A node that needs approvals waits, and is known to operators. `facts` is what it proved, for people. Gives whether it is
/// remembered.
pub fn wait_for_approval(
    view: View<'_>,
    id: &SpiffeId,
    ek: &[u8; 32],
    ak_name: &[u8],
    facts: &str,
    now: i64,
) -> (Decision, bool) {
    let before = view.node(id);
    let nothing = |view: View<'_>, is_remembered| (view.decide(Vec::new(), Vec::new()), is_remembered);
    if require_no_other(&view, ek, before.map(|node| &**node)).is_err() {
        // Its sibling was faster; the next attempt hears of it.
        return nothing(view, true);
    }
    let waits = |node: &&Arc<Node>| node.state == NodeState::Pending && !node.was_admitted();
    if before.is_none() && view.unprotected().nodes().filter(waits).count() >= MAX_PENDING {
        return nothing(view, false);
    }
    let from = view.standing(before.map(|node| &**node), ek, now);
    let Ok(Some(to)) = step(from, Action::Prove) else {
        // Decided by an operator meanwhile; the next attempt hears of it.
        return nothing(view, true);
    };
    let is_first = before.is_none_or(|before| before.state == NodeState::PreRegistered);
    if let Some(before) = before
        && !is_first
        && (before.state != NodeState::Pending || before.facts == facts)
    {
        return nothing(view, true);
    }
    let node = before.map_or_else(|| unseen(id, Some(*ek)), |before| Node::clone(before));
    let node = Node {
        facts: facts.to_owned(),
        ak_name: ak_name.to_vec(),
        state: to,
        since: if is_first { now } else { node.since },
        ..node
    };
    let event = is_first.then(|| Event::node_step(id, Action::Prove.act(), from, Some(to), ""));
    let changes = vec![Change::PutNode(Arc::new(node))];
    (view.decide(changes, event.into_iter().collect()), true)
}

/// A row for a node that only the inventory knew.
pub(super) fn unseen(id: &SpiffeId, ek_sha256: Option<[u8; 32]>) -> Node {
    Node {
        id: id.clone(),
        attestation_type: "tpm2".to_owned(),
        ek_sha256,
        ak_name: Vec::new(),
        current: None,
        next: None,
        selectors: BTreeSet::new(),
        state: NodeState::PreRegistered,
        since: 0,
        approvals: Approvals::default(),
        untrusted_reason: String::new(),
        appraised: Appraised::default(),
        can_reattest: true,
        agent_version: String::new(),
        facts: String::new(),
        attested_at: 0,
    }
}
