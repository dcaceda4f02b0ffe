//! One machine, one node: whichever of its TPM's endorsement keys it shows.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard},
};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Action, LinkError, Links, NodeState};
use hallmark_store::{Agent, Change, StoreError, TpmName};
use hallmark_tpm_wire::Name;
use hallmark_verify::{Trust, VerifiedProof};

use super::{Ask, ChangeFailed, Lifecycle, change};
use crate::{
    attest::{NodeClass, Refusal},
    caller::Caller,
    state::Server,
};

impl Lifecycle {
    /// Which keys are one machine's. Never held across an `await`.
    pub(super) fn links(&self) -> RwLockReadGuard<'_, Links> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change. Never held across an `await`.
    pub(super) fn links_mut(&self) -> RwLockWriteGuard<'_, Links> {
        self.links.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other EKs that operators list with this one, in hex: what is denied to one is denied to all.
    #[must_use]
    pub fn listed_with(&self, ek_sha256: &[u8; 32]) -> BTreeSet<String> {
        let others = self.links().listed_with(ek_sha256, &[]);
        others.iter().map(hex::encode).collect()
    }
}

/// What the store knows of the keys of machines. A node's own row counts where its Name was not kept.
pub(super) fn stored(names: Vec<TpmName>, machines: Vec<BTreeSet<EkId>>, rows: &[Agent]) -> Links {
    let of_rows = rows
        .iter()
        .filter_map(|row| Some((Name::parse(&row.ak_name).ok()?, row.ek_sha256?)));
    let names = names.into_iter().map(|it| (it.name, it.ek_sha256));
    Links::new(of_rows.chain(names), machines)
}

/// Replaces roots, the file's inventory, the templates that count, revocation lists, and what an expired certificate means.
/// EKs that the file lists as one machine's are that from now on; says whether that is news.
///
/// # Errors
/// The store's.
pub async fn set_trust(server: &Server, trust: Trust) -> Result<bool, StoreError> {
    let _turn = server.lifecycle.writer.lock().await;
    let machines: Vec<_> = trust.inventory.machines().collect();
    server.lifecycle.configure(trust);
    link(server, machines).await
}

/// At a start, before anybody is served: what the configured inventory lists as one machine's is that from now on, and so
/// are nodes of older versions that have one AK.
///
/// # Errors
/// The store's.
pub async fn link_at_start(server: &Server) -> Result<(), StoreError> {
    let _turn = server.lifecycle.writer.lock().await;
    let configured = server.lifecycle.configured.load_full();
    let mut machines: Vec<_> = configured.inventory.machines().collect();
    {
        let links = server.lifecycle.links();
        for row in server.agents.all() {
            let other = Name::parse(&row.ak_name).ok().and_then(|name| links.ek_of(&name));
            if let (Some(ek), Some(other)) = (row.ek_sha256, other)
                && ek != other
            {
                machines.push([EkId::Spki(ek), EkId::Spki(other)].into());
            }
        }
    }
    link(server, machines).await.map(drop)
}

/// Puts the EKs of each machine together, for good, and lets nodes follow; says whether any of it is news. The inventory's
/// writer is to be held.
async fn link(server: &Server, machines: Vec<BTreeSet<EkId>>) -> Result<bool, StoreError> {
    let news: Vec<_> = {
        let mut links = server.lifecycle.links_mut();
        machines
            .into_iter()
            .filter_map(|machine| links.merge(machine))
            .collect()
    };
    let is_news = !news.is_empty();
    if is_news {
        let changes = news.into_iter().map(Change::PutMachineEks).collect();
        server.store.commit(changes).await?;
    }
    let all = server.lifecycle.links().machines();
    for machine in &all {
        follow_sibling(server, machine, &Caller::Local(None)).await?;
    }
    Ok(is_news)
}

/// Keeps which TPM has the EK that was proven, and refuses it where that TPM is known by another.
///
/// # Errors
/// The machine is another node; or the store does not take what is new.
pub async fn require_one_node(server: &Server, verified_proof: &VerifiedProof) -> Result<(), Refusal> {
    let ek = verified_proof.ek_sha256();
    let names: Vec<Name> = verified_proof.ek_names().iter().cloned().collect();
    let is_gone = |other: &[u8; 32]| row_of(server, other).is_none();
    let proven = server
        .lifecycle
        .links_mut()
        .prove(ek, &names, verified_proof.ak_name(), is_gone);
    let new = proven.map_err(|error| refusal(server, &error))?;
    if !new.is_empty() {
        let put = |(name, _): &(Name, _)| {
            Change::PutTpmName(Box::new(TpmName {
                name: name.clone(),
                ek_sha256: *ek,
            }))
        };
        let kept = server.store.commit(new.iter().map(put).collect()).await;
        kept.map_err(|error| {
            server.lifecycle.links_mut().forget(ek, &new);
            Refusal::of(NodeClass::Unable, &error)
        })?;
    }
    let id = NodeId::new(&server.trust_domain, ek)
        .map(NodeId::into_spiffe_id)
        .map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
    require_no_other(server, ek, server.agents.find(&id).as_deref())
}

/// Refuses a node where another one of the same machine stands in its way. Until a node's row is written its siblings'
/// turns must be held as well as its own (see [`siblings`]), or two of them could come at the same time.
///
/// # Errors
/// With the other node.
pub(super) fn require_no_other(server: &Server, ek: &[u8; 32], own: Option<&Agent>) -> Result<(), Refusal> {
    let others = server.lifecycle.links().listed_with(ek, &[]);
    let mut rows = others.iter().filter_map(|other| Some((other, row_of(server, other)?)));
    match rows.find(|(_, row)| stands_in_the_way(own, row)) {
        None => Ok(()),
        Some((other, _)) => {
            let (other, shown) = (*other, *ek);
            Err(refusal(server, &LinkError::OtherEk { other, shown }))
        }
    }
}

/// Who is out keeps the machine out. Of two that are in, which is so only where they were linked later, the first stays, and
/// one that is in service before one that waits. One that never proved itself is in nobody's way.
fn stands_in_the_way(own: Option<&Agent>, other: &Agent) -> bool {
    let is_in = |row: &Agent| matches!(row.state, NodeState::Pending | NodeState::Active);
    match other.state {
        NodeState::PreRegistered => false,
        NodeState::Pending | NodeState::Active => {
            let rank = |row: &Agent| (row.state != NodeState::Active, row.since, row.id.clone());
            let came_later = |own: &Agent| rank(other) < rank(own);
            !other.ak_name.is_empty() && own.is_none_or(|own| !is_in(own) || came_later(own))
        }
        NodeState::Suspended | NodeState::Banned | NodeState::Retired => true,
    }
}

/// The ids of the other nodes that the machine with this EK could be.
pub(crate) fn siblings(server: &Server, ek: &[u8; 32]) -> Vec<SpiffeId> {
    let others = server.lifecycle.links().listed_with(ek, &[]);
    let ids = others
        .iter()
        .map(|other| NodeId::new(&server.trust_domain, other).map(NodeId::into_spiffe_id));
    ids.filter_map(Result::ok).collect()
}

/// The node of a line's machine, if there is one.
pub(crate) fn node_of_line(server: &Server, line: &InventoryItem) -> Option<Arc<Agent>> {
    let spki = |ek: EkId| server.lifecycle.links().ek_of_key(&ek);
    line.eks().filter_map(spki).find_map(|ek| row_of(server, &ek))
}

/// The id that a line's machine has or will have, as far as that is known: of several EKs the first one's.
pub(crate) fn id_of_line(server: &Server, line: &InventoryItem) -> Option<SpiffeId> {
    let first = line.eks().find_map(|ek| match ek {
        EkId::Spki(ek) => Some(ek),
        EkId::Name(_) => None,
    });
    NodeId::new(&server.trust_domain, &first?)
        .map(NodeId::into_spiffe_id)
        .ok()
}

/// Whether these two nodes are one machine, as operators say.
pub(super) fn are_one_machine(server: &Server, one: &SpiffeId, other: &SpiffeId) -> bool {
    let (one, other) = (NodeId::ek_of(one), NodeId::ek_of(other));
    one.zip(other)
        .is_some_and(|(one, other)| server.lifecycle.links().listed_with(&one, &[]).contains(&other))
}

/// Whether an operator has put out a node with one of these EKs.
pub(super) fn any_is_out(server: &Server, links: &Links, eks: &BTreeSet<EkId>) -> bool {
    let mut rows = eks.iter().filter_map(|ek| row_of(server, &links.ek_of_key(ek)?));
    rows.any(|row| out_by(row.state).is_some())
}

/// Nodes that operators list as one machine since: where one of them is out, the others go the same way. The inventory's
/// writer is to be held.
///
/// # Errors
/// The store's.
pub(super) async fn follow_sibling(server: &Server, eks: &BTreeSet<EkId>, by: &Caller) -> Result<(), StoreError> {
    let hashes: BTreeSet<[u8; 32]> = {
        let links = server.lifecycle.links();
        let own: BTreeSet<_> = eks.iter().filter_map(|ek| links.ek_of_key(ek)).collect();
        let others = own.iter().flat_map(|ek| links.listed_with(ek, &[]));
        others.chain(own.iter().copied()).collect()
    };
    let rows: Vec<Arc<Agent>> = hashes.iter().filter_map(|ek| row_of(server, ek)).collect();
    // The states are in this order: suspended, banned, retired.
    let furthest = rows.iter().filter(|row| out_by(row.state).is_some());
    let Some((out, action)) = furthest
        .max_by_key(|row| row.state)
        .and_then(|row| Some((row, out_by(row.state)?)))
    else {
        return Ok(());
    };
    let reason = format!(
        "the inventory lists it as the machine of {}, which is {}",
        out.id, out.state
    );
    for row in rows.iter().filter(|row| row.state != out.state) {
        let ask = Ask {
            id: &row.id,
            action,
            by,
            reason: &reason,
            dry_run: false,
        };
        match change::change_all(server, &ask, None, &[]).await {
            Ok(_) | Err(ChangeFailed::Refused(_) | ChangeFailed::Role(_)) => {}
            Err(ChangeFailed::Store(error)) => return Err(error),
        }
    }
    Ok(())
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

fn row_of(server: &Server, ek: &[u8; 32]) -> Option<Arc<Agent>> {
    let id = NodeId::new(&server.trust_domain, ek).map(NodeId::into_spiffe_id).ok()?;
    server.agents.find(&id)
}

fn refusal(server: &Server, error: &LinkError) -> Refusal {
    let class = match error {
        LinkError::OtherEk { .. } => NodeClass::OtherNode,
        _ => NodeClass::NotAllowed,
    };
    let mut refusal = Refusal::of(class, error);
    if let LinkError::OtherEk { other, shown } = error
        && let Ok(id) = NodeId::new(&server.trust_domain, other).map(NodeId::into_spiffe_id)
    {
        let state = row_of(server, other).map_or("evicted", |row| row.state.as_str());
        let shown = hex::encode(shown);
        refusal.compared = Some(format!("expected the EK of {id} ({state}), got EK {shown}"));
    }
    refusal
}
