//! Changing the inventory: imports and removals, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_registry::{Action, InventoryLine, NodeState, Plan, agent_id, step};
use hallmark_spiffe::SpiffeId;
use hallmark_store::{Agent, Change, Outcome, Record, RecordKind, StoreError};
use hallmark_verify::EkKey;

use super::{change::record, links};
use crate::{caller::Caller, state::Server};

/// What an operator imports.
#[derive(Debug)]
pub struct Import<'a> {
    /// The machines.
    pub lines: Vec<InventoryLine>,
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
    pub retired: Vec<EkKey>,
    /// Machines that were retired, and may come back.
    pub readmitted: Vec<EkKey>,
    /// Machines whose lines have expired already: they let nobody in.
    pub expired: Vec<EkKey>,
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
    let named: Vec<EkKey> = import.lines.iter().flat_map(InventoryLine::eks).collect();
    let now = server.clock.unix();
    let expired = import.lines.iter().filter(|line| !line.is_valid_at(now));
    let mut imported = Imported {
        expired: expired.map(|line| line.ek).collect(),
        plan: Plan::of(known.lines(), import.lines, import.replace),
        ..Imported::default()
    };
    let (eks, ids): (Vec<_>, Vec<_>) = retired(server, &named).into_iter().unzip();
    let readmitted = if import.readmit {
        imported.readmitted = eks;
        ids
    } else {
        imported.retired = eks;
        Vec::new()
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
    // A retired node is forgotten, so that it is what the inventory says: pre-registered.
    let readmit = |row: &Agent| match (row.state, step(Some(row.state), Action::Readmit)) {
        (NodeState::Retired, Ok(to @ Some(NodeState::PreRegistered))) => {
            let record = record(now, &row.id, Action::Readmit, &by, Some(row.state), to, import.reason);
            Some(Change::Record(record))
        }
        _ => unlisted(row, now, &by, import.reason),
    };
    let mut touched = readmitted;
    touched.extend(ids_of(server, &imported.plan.removed));
    let machines = machines(server, &imported.plan);
    changes.extend(machines.iter().cloned().map(Change::PutMachineEks));
    server.agents.forget(&*server.store, &touched, readmit, changes).await?;
    server.lifecycle.follow(lines);
    imported.relinked = !machines.is_empty();
    for machine in &machines {
        server.lifecycle.links_mut().list(machine.clone());
    }
    for machine in &machines {
        links::follow_sibling(server, machine, import.by).await?;
    }
    Ok(imported)
}

/// The EKs of each machine of which the plan says something new: those of its line. A key that was listed with them before
/// stays with them where one of their nodes is out, so that no import lets it back in.
fn machines(server: &Server, plan: &Plan) -> Vec<BTreeSet<EkKey>> {
    let links = server.lifecycle.links();
    let listed = plan.added.iter().chain(&plan.changed).map(|line| {
        let named: BTreeSet<EkKey> = line.eks().collect();
        let before: BTreeSet<EkKey> = named
            .iter()
            .filter_map(|ek| links.machine(ek))
            .flatten()
            .copied()
            .collect();
        if links::any_is_out(server, &links, &before) {
            return (named.union(&before).copied().collect(), before);
        }
        (named, before)
    });
    let news = listed.filter(|(now, before)| now != before && (now.len() > 1 || !before.is_empty()));
    news.map(|(now, _)| now).collect()
}

/// What the plan changes in the store; `lines` follow it.
fn staged(plan: &Plan, lines: &mut BTreeMap<EkKey, InventoryLine>) -> Vec<Change> {
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
    eks: &[EkKey],
    by: &Caller,
    reason: &str,
    dry_run: bool,
) -> Result<Vec<EkKey>, StoreError> {
    let _turn = server.lifecycle.writer.lock().await;
    let known = server.lifecycle.inventory();
    // Any EK of a machine stands for its line; two of them for the same one.
    let named = eks.iter().map(|ek| known.line(ek).map_or(*ek, |line| line.ek));
    let eks: &[EkKey] = &named.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
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
        let ids = ids_of(server, eks);
        server.agents.forget(&*server.store, &ids, forget, changes).await?;
        server.lifecycle.follow(lines);
    }
    Ok(eks.to_vec())
}

/// The ids of the machines with these EKs.
fn ids_of(server: &Server, eks: &[EkKey]) -> Vec<SpiffeId> {
    let id = |ek: &EkKey| match ek {
        EkKey::Spki(ek) => agent_id(&server.trust_domain, ek).ok(),
        EkKey::Name(_) => None,
    };
    eks.iter().filter_map(id).collect()
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

/// Retired nodes among the EKs that are named.
fn retired(server: &Server, named: &[EkKey]) -> Vec<(EkKey, SpiffeId)> {
    let by_name: BTreeMap<String, SpiffeId> = if named.iter().any(|ek| matches!(ek, EkKey::Name(_))) {
        let rows = server.agents.all();
        let retired = rows.iter().filter(|row| row.state == NodeState::Retired);
        retired
            .map(|row| (crate::attest::Facts::from_json(&row.facts).ek_name, row.id.clone()))
            .collect()
    } else {
        BTreeMap::new()
    };
    let is_retired = |id: &SpiffeId| {
        server
            .agents
            .find(id)
            .is_some_and(|row| row.state == NodeState::Retired)
    };
    let id = |ek: &EkKey| match ek {
        EkKey::Spki(ek) => agent_id(&server.trust_domain, ek).ok().filter(is_retired),
        EkKey::Name(_) => by_name.get(&ek.to_string()).cloned(),
    };
    named.iter().filter_map(|ek| Some((*ek, id(ek)?))).collect()
}
