//! One machine, one node: whichever of its TPM's endorsement keys it shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hallmark_node::EkId;
use hallmark_spiffe::SpiffeId;
use hallmark_tpm_wire::Name;

use crate::{Action, Appraised, Change, Decision, Event, Links, Node, NodeState, View, node::node_id, step};

/// What the configured inventory lists as one machine's is that from now on, and so are nodes of older versions that have one
/// AK. Gives whether any of it is news. Nodes of one machine go the way of the one among them that is out.
pub fn link_machines(view: View<'_>, now: i64) -> (Decision, bool) {
    let links = view.machines();
    let state = view.unprotected();
    let mut machines: Vec<BTreeSet<EkId>> = state.inventory().configured().inventory.machines().collect();
    for node in state.nodes() {
        let other = Name::parse(&node.ak_name).ok().and_then(|name| links.ek_of(&name));
        if let (Some(ek), Some(other)) = (node.ek_sha256, other)
            && ek != other
        {
            machines.push([EkId::Spki(ek), EkId::Spki(other)].into());
        }
    }
    let mut listed = links.clone();
    let news: Vec<_> = machines
        .into_iter()
        .filter_map(|machine| listed.merge(machine))
        .collect();
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    relink(&view, &news, (&mut changes, &mut events), now);
    for machine in listed.machines() {
        follow_siblings(&view, &listed, &machine, (&mut changes, &mut events), now);
    }
    (view.decide(changes, events), !news.is_empty())
}

/// Operators list these EKs as one machine's each, in order. Their nodes are judged again, and go the way of the one among
/// them that is out.
pub(super) fn relink(
    view: &View<'_>,
    machines: &[BTreeSet<EkId>],
    (changes, events): (&mut Vec<Change>, &mut Vec<Event>),
    now: i64,
) {
    if machines.is_empty() {
        return;
    }
    let before = view.machines();
    let mut links = before.clone();
    for machine in machines {
        links.list(machine.clone());
        changes.push(Change::PutMachineEks(machine.clone()));
    }
    for machine in machines {
        follow_siblings(view, &links, machine, (&mut *changes, &mut *events), now);
    }
    // What was listed with one of them before may stand alone now.
    let parted = machines.iter().flatten().filter_map(|ek| before.machine(ek)).flatten();
    let all: BTreeSet<[u8; 32]> = machines
        .iter()
        .flatten()
        .chain(parted)
        .filter_map(|ek| links.ek_of_key(ek))
        .collect();
    let changed: BTreeSet<SpiffeId> = changes.iter().filter_map(node_of_change).collect();
    for node in all.iter().filter_map(|ek| view.node_of_ek(ek)) {
        if !changed.contains(&node.id) {
            changes.push(Change::PutAppraised {
                node: node.id.clone(),
                appraised: Appraised::default(),
            });
        }
    }
}

fn node_of_change(change: &Change) -> Option<SpiffeId> {
    match change {
        Change::PutNode(node) => Some(node.id.clone()),
        Change::DeleteNode(id) => Some(id.clone()),
        _ => None,
    }
}

/// Nodes that operators list as one machine: where one of them is out, the others go the same way.
pub fn follow_siblings(
    view: &View<'_>,
    links: &Links,
    eks: &BTreeSet<EkId>,
    (changes, events): (&mut Vec<Change>, &mut Vec<Event>),
    now: i64,
) {
    let own: BTreeSet<_> = eks.iter().filter_map(|ek| links.ek_of_key(ek)).collect();
    let others = own.iter().flat_map(|ek| links.listed_with(ek, &[]));
    let hashes: BTreeSet<[u8; 32]> = others.chain(own.iter().copied()).collect();
    let mut nodes: BTreeMap<SpiffeId, Arc<Node>> = BTreeMap::new();
    for ek in &hashes {
        let Some(id) = node_id(view.unprotected().trust_domain(), ek) else {
            continue;
        };
        // As this very transaction leaves it.
        let changed = changes.iter().rev().find_map(|change| match change {
            Change::PutNode(node) if node.id == id => Some(Some(Arc::clone(node))),
            Change::DeleteNode(gone) if *gone == id => Some(None),
            _ => None,
        });
        if let Some(node) = changed.unwrap_or_else(|| view.node(&id).cloned()) {
            nodes.insert(id, node);
        }
    }
    // The states are in this order: suspended, banned, retired.
    let furthest = nodes.values().filter(|node| out_by(node.state).is_some());
    let Some((out, action)) = furthest
        .max_by_key(|node| node.state)
        .and_then(|node| Some((Arc::clone(node), out_by(node.state)?)))
    else {
        return;
    };
    let reason = format!(
        "the inventory lists it as the machine of {}, which is {}",
        out.id, out.state
    );
    for node in nodes.values().filter(|node| node.state != out.state) {
        let Ok(Some(to)) = step(Some(node.state), action) else {
            continue;
        };
        events.push(Event::node_step(
            &node.id,
            action.act(),
            Some(node.state),
            Some(to),
            &reason,
        ));
        changes.push(Change::PutNode(Arc::new(Node {
            state: to,
            since: now,
            current: node.next.or(node.current),
            next: None,
            approvals: crate::Approvals::default(),
            ..Node::clone(node)
        })));
    }
}

/// Whether an operator has put out a node with one of these EKs.
pub(super) fn any_is_out(view: &View<'_>, links: &Links, eks: &BTreeSet<EkId>) -> bool {
    let mut nodes = eks.iter().filter_map(|ek| view.node_of_ek(&links.ek_of_key(ek)?));
    nodes.any(|node| out_by(node.state).is_some())
}

/// What put a node out that stands there.
const fn out_by(state: NodeState) -> Option<Action> {
    match state {
        NodeState::Retired => Some(Action::Retire),
        NodeState::Banned => Some(Action::Ban),
        NodeState::Suspended => Some(Action::Suspend),
        NodeState::PreRegistered | NodeState::Pending | NodeState::Active => None,
    }
}
