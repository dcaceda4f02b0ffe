//! Whether a node whose TPM proved itself is let in.

use hallmark_node::NodeId;
use hallmark_policy::Appraisal;
use hallmark_state::{Action, Approvals, NodeState, step};
use hallmark_store::{Agent, Change};

use super::{Lifecycle, change::record, links};
use crate::{
    agents::{ChangeError, Decision},
    attest::{Facts, NodeClass, Refusal},
    state::Server,
};

/// Nodes that wait and were never let in. Each has a TPM that its maker or the inventory vouches for; beyond this many
/// they are refused without being remembered.
const MAX_PENDING: usize = 10_000;
/// Who lets nodes in, in the records.
const BY: &str = "attestation";

/// Refuses a node that an operator has put out, before it costs anything.
///
/// # Errors
/// For a node that is suspended, banned or retired.
pub fn barred(row: Option<&Agent>) -> Result<(), Refusal> {
    match row.map(|row| row.state) {
        Some(state) if step(Some(state), Action::Admit).is_err() => Err(refusal(state)),
        _ => Ok(()),
    }
}

fn refusal(state: NodeState) -> Refusal {
    Refusal::bare(match state {
        NodeState::Suspended => NodeClass::Suspended,
        NodeState::Retired => NodeClass::Retired,
        NodeState::Banned => NodeClass::Banned,
        NodeState::PreRegistered | NodeState::Pending | NodeState::Active => NodeClass::Pending,
    })
}

/// Whether the node may become or stay active at `now`. Its siblings' turns are to be held where that is written.
///
/// # Errors
/// When an operator has put it out, it is another node's machine, or approvals are missing.
pub fn admission(server: &Server, row: Option<&Agent>, ek_sha256: &[u8; 32], now: i64) -> Result<(), Refusal> {
    barred(row)?;
    links::require_no_other(server, ek_sha256, row)?;
    server.lifecycle.approved(row, ek_sha256, now)
}

impl Lifecycle {
    /// Whether operators have approved the node, as far as they must.
    fn approved(&self, row: Option<&Agent>, ek_sha256: &[u8; 32], now: i64) -> Result<(), Refusal> {
        let approvals = row.map(|row| &row.approvals);
        let found = approvals.map_or(0, |all| all.in_force(ek_sha256, now, self.approval_lifetime()).count());
        let needed = self.approvers().count();
        if found >= needed || row.is_some_and(|row| row.state.is_served()) {
            return Ok(());
        }
        Err(Refusal {
            compared: Some(format!("{needed} approvals needed, {found} given")),
            ..refusal(NodeState::Pending)
        })
    }
}

/// Goes on with a node that needs no approval or has what it needs; makes any other wait, and known to operators.
///
/// # Errors
/// For a node that waits, or that an operator has put out.
pub async fn let_in(server: &Server, appraisal: &Appraisal) -> Result<(), Refusal> {
    let evidence = appraisal.evidence();
    let unable = |error: &dyn hallmark_reason::Coded| Refusal::of(NodeClass::Unable, error);
    let id = NodeId::new(&server.trust_domain, evidence.ek_sha256())
        .map(NodeId::into_spiffe_id)
        .map_err(|error| unable(&error))?;
    let now = server.clock.unix();
    let row = server.agents.find(&id);
    let Err(refused) = admission(server, row.as_deref(), evidence.ek_sha256(), now) else {
        return Ok(());
    };
    if refused.class != NodeClass::Pending {
        return Err(refused);
    }
    if row.is_none() && server.agents.count_pending() >= MAX_PENDING {
        tracing::error!(%id, "so many nodes wait for approval that no more are remembered");
        return Err(refused);
    }
    let decide = |before: Option<&Agent>| {
        if links::require_no_other(server, evidence.ek_sha256(), before).is_err() {
            // Its sibling was faster; the next attempt hears of it.
            return (Decision::Keep, Vec::new());
        }
        let from = server.lifecycle.state(before, evidence.ek_sha256(), now);
        let Ok(Some(to)) = step(from, Action::Prove) else {
            // Decided by an operator meanwhile; the next attempt hears of it.
            return (Decision::Keep, Vec::new());
        };
        let fresh = Agent {
            id: id.clone(),
            attestation_type: "tpm2".to_owned(),
            ek_sha256: Some(*evidence.ek_sha256()),
            ak_name: evidence.ak_name().as_bytes().to_vec(),
            current: None,
            next: None,
            selectors: std::collections::BTreeSet::new(),
            state: to,
            since: now,
            approvals: Approvals::default(),
            distrust: String::new(),
            can_reattest: true,
            agent_version: String::new(),
            facts: Facts::of(appraisal).to_json(),
            attested_at: 0,
        };
        let Some(before) = before else {
            let record = Change::Record(record(now, &id, Action::Prove, BY, from, Some(to), ""));
            return (Decision::Put(Box::new(fresh)), vec![record]);
        };
        let is_first = before.state == NodeState::PreRegistered;
        if !is_first && (before.state != NodeState::Pending || before.facts == fresh.facts) {
            return (Decision::Keep, Vec::new());
        }
        let again = Agent {
            facts: fresh.facts,
            ak_name: fresh.ak_name,
            state: to,
            since: if is_first { now } else { before.since },
            ..before.clone()
        };
        let first = is_first.then(|| Change::Record(record(now, &id, Action::Prove, BY, from, Some(to), "")));
        (Decision::Put(Box::new(again)), first.into_iter().collect())
    };
    let siblings = links::siblings(server, evidence.ek_sha256());
    match server
        .agents
        .change_among::<()>(&*server.store, &id, &siblings, decide, || ())
        .await
    {
        Ok(_) => {
            tracing::info!(%id, compared = refused.compared, "a node waits for approval");
            Err(refused)
        }
        Err(ChangeError::Refused(())) => Err(refused),
        Err(ChangeError::Store(error)) => Err(unable(&error)),
    }
}

/// The record of a node that was let in, where that is a step in its life.
pub(crate) fn admitted(
    server: &Server,
    id: &hallmark_spiffe::SpiffeId,
    before: Option<&Agent>,
    ek: &[u8; 32],
) -> Vec<Change> {
    let now = server.clock.unix();
    let from = server.lifecycle.state(before, ek, now);
    match step(from, Action::Admit) {
        Ok(to) if to != from => vec![Change::Record(record(now, id, Action::Admit, BY, from, to, ""))],
        _ => Vec::new(),
    }
}
