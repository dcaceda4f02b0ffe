//! Leave for an attested node to be an agent.

use std::time::Duration;

use hallmark_node::NodeId;
use hallmark_policy::Appraisal;
use hallmark_spiffe::{SpiffeId, TrustDomain};

use crate::{Grant, GrantError, Why, grant};

/// The id of the node of the machine with this EK; `None` where the trust domain's name leaves no room for it.
pub(crate) fn node_id(trust_domain: &TrustDomain, ek_sha256: &[u8; 32]) -> Option<SpiffeId> {
    NodeId::new(trust_domain, ek_sha256).map(NodeId::into_spiffe_id).ok()
}

/// Leave for a node to hold its agent's SPIFFE ID, given that it was trusted. The id comes from the evidence
/// alone: nothing that the node says of itself has a part in it.
///
/// # Errors
/// When the appraisal refused the node, with the first rule that did not hold; or the lifetime is zero.
pub fn authorise_node(appraisal: &Appraisal, trust_domain: &TrustDomain, ttl: Duration) -> Result<Grant, GrantError> {
    if let Some(reason) = appraisal.refusal() {
        return Err(GrantError::NodeRefused {
            reason: Box::new(reason.clone()),
        });
    }
    let node = NodeId::new(trust_domain, appraisal.evidence().ek_sha256()).map_err(GrantError::Id)?;
    grant::grant(node.into_spiffe_id(), Vec::new(), ttl, Why::NodeAttested)
}
