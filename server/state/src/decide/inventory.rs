//! The inventory: imports and removals, whole or not at all.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::SpiffeId;

use super::machines;
use crate::{
    Action, Change, Decision, Event, InventorySnapshot, Links, Node, NodeState, Plan, View, What, node::node_id, step,
};

/// What an operator imports.
#[derive(Debug, Clone, Copy)]
pub struct Import<'a> {
    /// The machines.
    pub lines: &'a [InventoryItem],
    /// Whether lines that are not among them go.
    pub replace: bool,
    /// Whether retired machines among them may come back.
    pub readmit: bool,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
    /// Why, in the operator's words.
    pub reason: &'a str,
}

/// What an import changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The inventory's share.
    pub plan: Plan,
    /// Machines that are retired, and stay so.
    pub retired: Vec<EkId>,
    /// Machines that were retired, and may come back.
    pub readmitted: Vec<EkId>,
    /// Machines whose lines have expired already: they let nobody in.
    pub expired: Vec<EkId>,
}

/// Takes machines into the inventory, and with `readmit` lets those that were retired come back. Nodes that are one machine's
/// from now on go the way of the one among them that is out; all of them are judged again.
pub fn import(view: View<'_>, import: &Import<'_>, now: i64) -> (Decision, Imported) {
    let known = view.inventory();
    let named: Vec<EkId> = import.lines.iter().flat_map(InventoryItem::eks).collect();
    let expired = import.lines.iter().filter(|line| !line.is_valid_at(now));
    let mut imported = Imported {
        expired: expired.map(|line| line.ek).collect(),
        plan: Plan::of(known.lines(), import.lines.to_vec(), import.replace),
        ..Imported::default()
    };
    let (eks, ids): (Vec<_>, BTreeSet<_>) = retired(&view, &named).into_iter().unzip();
    let readmitted: BTreeSet<SpiffeId> = if import.readmit {
        imported.readmitted = eks;
        ids
    } else {
        imported.retired = eks;
        BTreeSet::new()
    };
    if import.dry_run {
        return (view.decide(Vec::new(), Vec::new()), imported);
    }
    let (mut changes, mut events) = staged(&imported.plan, known, import.reason);
    let mut touched: BTreeSet<SpiffeId> = readmitted.iter().cloned().collect();
    touched.extend(ids_of(&view, dropped(known, &imported.plan)));
    for node in touched.iter().filter_map(|id| view.node(id)) {
        // A retired node that may come back is forgotten, so that it is what the inventory says: pre-registered.
        let action = if readmitted.contains(&node.id) && node.state == NodeState::Retired {
            Action::Readmit
        } else {
            Action::Unlist
        };
        if let Some((change, event)) = forgotten(node, action, import.reason) {
            changes.push(change);
            events.push(event);
        }
    }
    let news = new_machines(&view, &imported.plan);
    machines::relink(&view, &news, (&mut changes, &mut events), now);
    (view.decide(changes, events), imported)
}

/// Takes lines out of the inventory, all or none; gives those that were there.
///
/// # Errors
/// The first EK that has no line.
pub fn remove(view: View<'_>, eks: &[EkId], reason: &str, dry_run: bool) -> Result<(Decision, Vec<EkId>), EkId> {
    let known = view.inventory();
    // Any EK of a machine stands for its line; two of them for the same one.
    let named = eks.iter().map(|ek| known.line(ek).map_or(*ek, |line| line.ek));
    let named: BTreeSet<EkId> = named.collect();
    let line = |ek: &EkId| known.lines().get(ek).ok_or(*ek);
    let lines = named.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let removed: Vec<EkId> = named.iter().copied().collect();
    if dry_run || lines.is_empty() {
        return Ok((view.decide(Vec::new(), Vec::new()), removed));
    }
    let mut changes: Vec<Change> = lines
        .iter()
        .map(|line| Change::DeleteInventoryLine(Arc::clone(line)))
        .collect();
    let what = What::InventoryRemoved {
        removed: removed.iter().map(ToString::to_string).collect(),
        reason: reason.to_owned(),
    };
    let mut events = vec![Event::done("inventory", what)];
    let ids = ids_of(&view, lines.iter().flat_map(|line| line.eks()).collect::<Vec<_>>());
    for node in ids.iter().filter_map(|id| view.node(id)) {
        if let Some((change, event)) = forgotten(node, Action::Unlist, reason) {
            changes.push(change);
            events.push(event);
        }
    }
    Ok((view.decide(changes, events), removed))
}

/// What the plan changes in the inventory.
fn staged(plan: &Plan, known: &InventorySnapshot, reason: &str) -> (Vec<Change>, Vec<Event>) {
    let put = plan.added.iter().chain(&plan.changed);
    let put = put.map(|line| Change::PutInventoryLine(Arc::new(line.clone())));
    // Of a line that changes, too: an EK that it no longer names is touched by that.
    let gone = plan.removed.iter().chain(plan.changed.iter().map(|line| &line.ek));
    let gone = gone.filter_map(|ek| known.lines().get(ek));
    let gone = gone.map(|line| Change::DeleteInventoryLine(Arc::clone(line)));
    // What is removed first leaves its EKs to the lines that name them now.
    let changes: Vec<Change> = gone.chain(put).collect();
    if changes.is_empty() {
        return (changes, Vec::new());
    }
    let count = |lines: usize| u64::try_from(lines).unwrap_or(u64::MAX);
    let what = What::InventoryImported {
        added: count(plan.added.len()),
        changed: count(plan.changed.len()),
        unchanged: count(plan.unchanged.len()),
        removed: count(plan.removed.len()),
        reason: reason.to_owned(),
    };
    (changes, vec![Event::done("inventory", what)])
}

/// A node that is forgotten by `action`, if it is: a machine that was approved and never seen goes with its line.
fn forgotten(node: &Node, action: Action, reason: &str) -> Option<(Change, Event)> {
    let to = step(Some(node.state), action).ok()?;
    let is_forgotten = match action {
        Action::Readmit => true,
        _ => node.state == NodeState::PreRegistered && to.is_none(),
    };
    is_forgotten.then(|| {
        let event = Event::node_step(&node.id, action.act(), Some(node.state), to, reason);
        (Change::DeleteNode(node.id.clone()), event)
    })
}

/// EKs that no line names any more.
fn dropped(known: &InventorySnapshot, plan: &Plan) -> Vec<EkId> {
    let gone = plan.removed.iter().chain(plan.changed.iter().map(|line| &line.ek));
    let before: BTreeSet<EkId> = gone
        .filter_map(|ek| known.lines().get(ek))
        .flat_map(|line| line.eks())
        .collect();
    let put = plan.added.iter().chain(&plan.changed).flat_map(InventoryItem::eks);
    let now: BTreeSet<EkId> = put.collect();
    before.difference(&now).copied().collect()
}

/// The ids of the nodes with these EKs.
fn ids_of(view: &View<'_>, eks: impl IntoIterator<Item = EkId>) -> Vec<SpiffeId> {
    let trust_domain = view.unprotected().trust_domain();
    let id = |ek: EkId| match ek {
        EkId::Spki(ek) => node_id(trust_domain, &ek),
        EkId::Name(_) => None,
    };
    eks.into_iter().filter_map(id).collect()
}

/// Retired nodes among the machines of which an EK is named: what is done to one node of a machine is done to all.
fn retired(view: &View<'_>, named: &[EkId]) -> Vec<(EkId, SpiffeId)> {
    let links = view.machines();
    let (mut seen, mut retired) = (BTreeSet::new(), Vec::new());
    let as_named = |key: &EkId| Some((*key, links.ek_of_key(key)?));
    let own: Vec<_> = named.iter().filter_map(as_named).collect();
    let others = own.iter().flat_map(|(_, ek)| links.listed_with(ek, &[]));
    let others = others.map(|ek| (EkId::Spki(ek), ek));
    for (key, ek) in own.iter().copied().chain(others) {
        let node = view.node_of_ek(&ek);
        if let Some(node) = node.filter(|node| node.state == NodeState::Retired)
            && seen.insert(ek)
        {
            retired.push((key, node.id.clone()));
        }
    }
    retired
}

/// The EKs of each machine of which the plan says something new, one after the other: those of its line. A key that was
/// listed with them before stays with them where one of their nodes is out, so that no import lets it back in; and what the
/// configured file lists together stays together.
fn new_machines(view: &View<'_>, plan: &Plan) -> Vec<BTreeSet<EkId>> {
    let links = view.machines();
    let mut listed = Links::new([], links.machines());
    let configured = view.unprotected().inventory().configured();
    let mut news = Vec::new();
    for line in plan.added.iter().chain(&plan.changed) {
        let mut machine: BTreeSet<EkId> = line.eks().collect();
        let before = machine.iter().filter_map(|ek| listed.machine(ek)).flatten();
        let before: BTreeSet<EkId> = before.copied().collect();
        if machines::any_is_out(view, links, &before) {
            machine.extend(&before);
        }
        if machine != before && (machine.len() > 1 || !before.is_empty()) {
            listed.list(machine.clone());
            news.push(machine);
        }
    }
    for machine in configured.inventory.machines() {
        news.extend(listed.merge(machine));
    }
    news
}
