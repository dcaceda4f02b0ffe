//! Changing the inventory: imports and removals, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Action, Links, NodeState, Plan, step};
use hallmark_store::{Agent, Change, Outcome, Record, RecordKind, StoreError};

use super::{Known, change::record, links};
use crate::{caller::Caller, state::Server};

/// What an operator imports.
#[derive(Debug)]
pub struct Import<'a> {
    /// The machines.
    pub lines: Vec<InventoryItem>,
    /// Whether lines that are not among them go.
    pub replace: bool,
    /// Whether retired machines among them may come back.
    pub readmit: bool,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
    /// Who imports.
    pub by: &'a Caller,
    /// Why, in their words.
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
    /// Whether EKs are one machine's since, or no longer.
    pub relinked: bool,
}

/// Takes machines into the inventory, and with `readmit` lets those that were retired come back: all or nothing.
///
/// # Errors
/// When the store does not take it; then nothing was changed.
pub async fn import(server: &Server, import: Import<'_>) -> Result<Imported, StoreError> {
    let _turn = server.lifecycle.writer.lock().await;
    let known = server.lifecycle.inventory();
    let named: Vec<EkId> = import.lines.iter().flat_map(InventoryItem::eks).collect();
    let now = server.clock.unix();
    let expired = import.lines.iter().filter(|line| !line.is_valid_at(now));
    let mut imported = Imported {
        expired: expired.map(|line| line.ek).collect(),
        plan: Plan::of(known.lines(), import.lines, import.replace),
        ..Imported::default()
    };
    let (eks, ids): (Vec<_>, BTreeSet<_>) = retired(server, &named).into_iter().unzip();
    let readmitted: BTreeSet<SpiffeId> = if import.readmit {
        imported.readmitted = eks;
        ids
    } else {
        imported.retired = eks;
        BTreeSet::new()
    };
    if import.dry_run {
        return Ok(imported);
    }
    let mut lines = known.lines().clone();
    let mut changes = staged(&imported.plan, &mut lines);
    let by = import.by.actor();
    if !changes.is_empty() {
        let counts = serde_json::json!({
            "act": "inventory-imported",
            "by": by,
            "reason": import.reason,
            "added": imported.plan.added.len(),
            "changed": imported.plan.changed.len(),
            "unchanged": imported.plan.unchanged.len(),
            "removed": imported.plan.removed.len(),
        });
        changes.push(Change::Record(inventory_record(server, &counts)));
    }
    // A retired node that may come back is forgotten, so that it is what the inventory says: pre-registered.
    let forget = |row: &Agent| match step(Some(row.state), Action::Readmit) {
        Ok(to) if row.state == NodeState::Retired && readmitted.contains(&row.id) => {
            let record = record(now, &row.id, Action::Readmit, &by, Some(row.state), to, import.reason);
            Some(Change::Record(record))
        }
        _ => unlisted(row, now, &by, import.reason),
    };
    let mut touched: Vec<SpiffeId> = readmitted.iter().cloned().collect();
    touched.extend(ids_of(server, dropped(&known, &imported.plan, &lines)));
    let machines = machines(server, &imported.plan);
    changes.extend(machines.iter().cloned().map(Change::PutMachineEks));
    server.agents.forget(&*server.store, &touched, forget, changes).await?;
    server.lifecycle.follow(lines);
    imported.relinked = !machines.is_empty();
    for machine in &machines {
        server.lifecycle.links_mut().list(machine.clone());
    }
    for machine in &machines {
        links::follow_sibling(server, machine, import.by).await?;
    }
    // Attestations that were judged by what was listed before have come to their end, or will find that it changed.
    server.agents.settle().await;
    Ok(imported)
}

/// The EKs of each machine of which the plan says something new, one after the other: those of its line. A key that was
/// listed with them before stays with them where one of their nodes is out, so that no import lets it back in; and what the
/// configured file lists together stays together.
fn machines(server: &Server, plan: &Plan) -> Vec<BTreeSet<EkId>> {
    let links = server.lifecycle.links();
    let mut listed = Links::new([], links.machines());
    let mut news = Vec::new();
    for line in plan.added.iter().chain(&plan.changed) {
        let mut machine: BTreeSet<EkId> = line.eks().collect();
        let before = machine.iter().filter_map(|ek| listed.machine(ek)).flatten();
        let before: BTreeSet<EkId> = before.copied().collect();
        if links::any_is_out(server, &links, &before) {
            machine.extend(&before);
        }
        if machine != before && (machine.len() > 1 || !before.is_empty()) {
            listed.list(machine.clone());
            news.push(machine);
        }
    }
    let configured = server.lifecycle.configured.load();
    let of_file = configured.inventory.machines();
    news.extend(of_file.filter_map(|machine| listed.merge(machine)));
    news
}

/// EKs of lines that go or change, and that no line names any more.
fn dropped(known: &Known, plan: &Plan, lines: &BTreeMap<EkId, InventoryItem>) -> Vec<EkId> {
    let named: BTreeSet<EkId> = lines.values().flat_map(InventoryItem::eks).collect();
    let of_lines = plan.removed.iter().chain(plan.changed.iter().map(|line| &line.ek));
    let before = of_lines
        .filter_map(|ek| known.lines().get(ek))
        .flat_map(InventoryItem::eks);
    before.filter(|ek| !named.contains(ek)).collect()
}

/// What the plan changes in the store; `lines` follow it.
fn staged(plan: &Plan, lines: &mut BTreeMap<EkId, InventoryItem>) -> Vec<Change> {
    let mut changes = Vec::new();
    for line in plan.added.iter().chain(&plan.changed) {
        lines.insert(line.ek, line.clone());
        changes.push(Change::PutInventory(Box::new(line.clone())));
    }
    for ek in &plan.removed {
        lines.remove(ek);
        changes.push(Change::DeleteInventory(*ek));
    }
    changes
}

/// Takes lines out of the inventory, all or none; gives those that were there.
///
/// # Errors
/// [`StoreError::Missing`] when one is not there; when the store does not take it. Then nothing was changed.
pub async fn remove(
    server: &Server,
    eks: &[EkId],
    by: &Caller,
    reason: &str,
    dry_run: bool,
) -> Result<Vec<EkId>, StoreError> {
    let _turn = server.lifecycle.writer.lock().await;
    let known = server.lifecycle.inventory();
    // Any EK of a machine stands for its line; two of them for the same one.
    let named = eks.iter().map(|ek| known.line(ek).map_or(*ek, |line| line.ek));
    let eks: &[EkId] = &named.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let mut lines = known.lines().clone();
    let mut changes = Vec::new();
    for ek in eks {
        if lines.remove(ek).is_none() {
            let what = format!("inventory line {ek}");
            return Err(StoreError::Missing { what });
        }
        changes.push(Change::DeleteInventory(*ek));
    }
    if !dry_run && !changes.is_empty() {
        let detail = serde_json::json!({
            "act": "inventory-removed",
            "by": by.actor(),
            "reason": reason,
            "removed": eks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        changes.push(Change::Record(inventory_record(server, &detail)));
        let (now, by) = (server.clock.unix(), by.actor());
        let forget = |row: &Agent| unlisted(row, now, &by, reason);
        let gone = eks.iter().filter_map(|ek| known.lines().get(ek));
        let ids = ids_of(server, gone.flat_map(InventoryItem::eks));
        server.agents.forget(&*server.store, &ids, forget, changes).await?;
        server.lifecycle.follow(lines);
        // As after an import.
        server.agents.settle().await;
    }
    Ok(eks.to_vec())
}

/// The ids of the nodes with these EKs.
fn ids_of(server: &Server, eks: impl IntoIterator<Item = EkId>) -> Vec<SpiffeId> {
    let id = |ek: EkId| match ek {
        EkId::Spki(ek) => NodeId::new(&server.trust_domain, &ek).map(NodeId::into_spiffe_id).ok(),
        EkId::Name(_) => None,
    };
    eks.into_iter().filter_map(id).collect()
}

/// A machine that was approved and never seen is forgotten with its line.
fn unlisted(row: &Agent, now: i64, by: &str, reason: &str) -> Option<Change> {
    let to = step(Some(row.state), Action::Unlist).ok()?;
    let is_forgotten = row.state == NodeState::PreRegistered && to.is_none();
    is_forgotten.then(|| {
        let record = record(now, &row.id, Action::Unlist, by, Some(row.state), to, reason);
        Change::Record(record)
    })
}

fn inventory_record(server: &Server, detail: &serde_json::Value) -> Record {
    Record {
        at: server.clock.unix(),
        kind: RecordKind::Admin,
        subject: "inventory".to_owned(),
        outcome: Outcome::Done,
        code: String::new(),
        detail: detail.to_string(),
    }
}

/// Retired nodes among the machines of which an EK is named: what is done to one node of a machine is done to all.
fn retired(server: &Server, named: &[EkId]) -> Vec<(EkId, SpiffeId)> {
    let links = server.lifecycle.links();
    let (mut seen, mut retired) = (BTreeSet::new(), Vec::new());
    let as_named = |key: &EkId| Some((*key, links.ek_of_key(key)?));
    let own: Vec<_> = named.iter().filter_map(as_named).collect();
    let others = own.iter().flat_map(|(_, ek)| links.listed_with(ek, &[]));
    let others = others.map(|ek| (EkId::Spki(ek), ek));
    for (key, ek) in own.iter().copied().chain(others) {
        let Ok(id) = NodeId::new(&server.trust_domain, &ek).map(NodeId::into_spiffe_id) else {
            continue;
        };
        let row = server.agents.find(&id);
        if row.is_some_and(|row| row.state == NodeState::Retired) && seen.insert(ek) {
            retired.push((key, id));
        }
    }
    retired
}
