//! Leave for an attested node to be an agent.

use std::time::Duration;

use hallmark_policy::Appraisal;
use hallmark_spiffe::{SpiffeId, TrustDomain};

use crate::{Grant, GrantError, Why, grant};

/// The id of the agent on the machine whose EK has this hash (SHA-256 of its SubjectPublicKeyInfo):
/// `spiffe://<td>/spire/agent/tpm2/<hex>`. One machine has one id for as long as it has that TPM.
///
/// # Errors
/// When the trust domain's name leaves no room for the path.
pub fn agent_id(trust_domain: &TrustDomain, ek_sha256: &[u8; 32]) -> Result<SpiffeId, GrantError> {
    let hash: String = ek_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    SpiffeId::new(trust_domain, &format!("/spire/agent/tpm2/{hash}")).map_err(GrantError::Id)
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
    let id = agent_id(trust_domain, appraisal.evidence().ek_sha256())?;
    grant::grant(id, Vec::new(), ttl, Why::NodeAttested)
}
