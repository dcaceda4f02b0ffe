//! Whether a node whose TPM proved itself is let in: the decisions, and what the node is told.

use std::convert::Infallible;

use hallmark_node::NodeId;
use hallmark_policy::Appraisal;
use hallmark_reason::Coded;
use hallmark_spiffe::TrustDomain;
use hallmark_state::{
    AttestedFacts, LinkError, NodeState, View,
    decide::{self, Admission, ApprovalRules, admit, require_no_other, wait_for_approval},
};
use hallmark_tpm_wire::Name;
use hallmark_verify::VerifiedProof;

use super::{NodeClass, Refusal};
use crate::journal::{Failed, Journal};

/// Who lets nodes in, in the records.
const BY: &str = "attestation";

/// Keeps which TPM has the EK that was proven, and refuses it where that TPM is known by another.
///
/// # Errors
/// The machine is another node; or the store does not take what is new.
pub(super) async fn prove_names(journal: &Journal, proof: &VerifiedProof) -> Result<(), Refusal> {
    let ek = proof.ek_sha256();
    let names: Vec<Name> = proof.ek_names().iter().cloned().collect();
    let proven = journal.decide(BY, |view| {
        decide::prove_names(view, ek, &names, proof.ak_name()).map(|decision| (decision, ()))
    });
    match proven.await {
        Ok(_) => {}
        Err(Failed::Refused((error, other))) => return Err(link_refusal(journal.trust_domain(), &error, other)),
        Err(Failed::Store(error)) => return Err(Refusal::of(NodeClass::Unable, &error)),
    }
    let refused = {
        let state = journal.state();
        let own = state.node_of_ek(ek).map(|node| &**node);
        require_no_other(&View::new(&state), ek, own)
    };
    refused.map_err(|error| refusal(journal.trust_domain(), error))
}

/// Goes on with a node that needs no approval or has what it needs; makes any other wait, and known to operators.
///
/// # Errors
/// For a node that waits, or that an operator has put out.
pub(super) async fn admit_or_wait(
    journal: &Journal,
    rules: &ApprovalRules,
    appraisal: &Appraisal,
) -> Result<(), Refusal> {
    let evidence = appraisal.evidence();
    let ek = evidence.ek_sha256();
    let unable = |error: &dyn Coded| Refusal::of(NodeClass::Unable, error);
    let id = NodeId::new(journal.trust_domain(), ek)
        .map(NodeId::into_spiffe_id)
        .map_err(|error| unable(&error))?;
    let now = journal.clock().unix();
    let admitted = {
        let state = journal.state();
        let node = state.node(&id).map(|node| &**node);
        admit(&View::new(&state), node, ek, rules, now)
    };
    let Err(refused) = admitted else { return Ok(()) };
    let waits = matches!(refused, Admission::Pending { .. });
    let refused = refusal(journal.trust_domain(), refused);
    if !waits {
        return Err(refused);
    }
    let facts = AttestedFacts::of(appraisal).to_json();
    let ak_name = evidence.ak_name().as_bytes();
    let decided = journal.decide(BY, |view| {
        Ok::<_, Infallible>(wait_for_approval(view, &id, ek, ak_name, &facts, now))
    });
    match decided.await {
        Ok(done) if done.answer => {
            tracing::info!(%id, compared = refused.compared, "a node waits for approval");
            Err(refused)
        }
        Ok(_) => {
            tracing::error!(%id, "so many nodes wait for approval that no more are remembered");
            Err(refused)
        }
        Err(Failed::Store(error)) => Err(unable(&error)),
        Err(Failed::Refused(never)) => match never {},
    }
}

/// What a node hears that is not let in.
pub(super) fn refusal(trust_domain: &TrustDomain, error: Admission) -> Refusal {
    match error {
        Admission::Out(NodeState::Suspended) => Refusal::bare(NodeClass::Suspended),
        Admission::Out(NodeState::Retired) => Refusal::bare(NodeClass::Retired),
        Admission::Out(_) => Refusal::bare(NodeClass::Banned),
        Admission::Pending { needed, found } => Refusal {
            compared: Some(format!("{needed} approvals needed, {found} given")),
            ..Refusal::bare(NodeClass::Pending)
        },
        Admission::OtherNode(error, state) => link_refusal(trust_domain, &error, state),
    }
}

/// `state` is the other node's; `None` where it was evicted.
fn link_refusal(trust_domain: &TrustDomain, error: &LinkError, state: Option<NodeState>) -> Refusal {
    let class = match error {
        LinkError::OtherEk { .. } => NodeClass::OtherNode,
        _ => NodeClass::NotAllowed,
    };
    let mut refusal = Refusal::of(class, error);
    if let LinkError::OtherEk { other, shown } = error
        && let Ok(id) = NodeId::new(trust_domain, other)
    {
        let state = state.map_or("evicted", NodeState::as_str);
        let shown = hex::encode(shown);
        refusal.compared = Some(format!("expected the EK of {id} ({state}), got EK {shown}"));
    }
    refusal
}
