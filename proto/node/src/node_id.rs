//! The id of a node.

use hallmark_spiffe::{IdError, SpiffeId, TrustDomain};

/// Before the hash in a node's path.
const PATH: &str = "/spire/agent/tpm2/";

/// The SPIFFE ID of the agent on the machine with this endorsement key: `spiffe://<td>/spire/agent/tpm2/<hex>`, where the
/// hex is SHA-256 of the key's canonical SubjectPublicKeyInfo, in lower case. One machine has one id for as long as it has
/// that TPM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    id: SpiffeId,
    ek_sha256: [u8; 32],
}

impl NodeId {
    /// The id that a machine has by its endorsement key.
    ///
    /// # Errors
    /// When the trust domain's name leaves no room for the path.
    pub fn new(trust_domain: &TrustDomain, ek_sha256: &[u8; 32]) -> Result<Self, IdError> {
        let path = format!("{PATH}{}", hex::encode(ek_sha256));
        Ok(Self {
            id: SpiffeId::new(trust_domain, &path)?,
            ek_sha256: *ek_sha256,
        })
    }

    /// The endorsement key's hash out of a node's id; `None` for the id of anything else. Digits are lower-case, as
    /// [`new`](Self::new) writes them: another spelling is another SPIFFE ID, and no node's.
    #[must_use]
    pub fn ek_of(id: &SpiffeId) -> Option<[u8; 32]> {
        Self::ek_of_text(id.path().strip_prefix(PATH)?)
    }

    /// The hash with which the SPIFFE ID `text` ends, in hex, if it is a node's.
    #[must_use]
    pub fn hash_in(text: &str) -> Option<&str> {
        let (_, hash) = text.rsplit_once(PATH)?;
        Self::ek_of_text(hash).map(|_| hash)
    }

    fn ek_of_text(hash: &str) -> Option<[u8; 32]> {
        let mut ek = [0; 32];
        let is_lower = !hash.bytes().any(|byte| byte.is_ascii_uppercase());
        (is_lower && hex::decode_to_slice(hash, &mut ek).is_ok()).then_some(ek)
    }

    /// The SPIFFE ID.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.id
    }

    /// The SPIFFE ID.
    #[must_use]
    pub fn into_spiffe_id(self) -> SpiffeId {
        self.id
    }

    /// SHA-256 of the endorsement key's canonical SPKI.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        &self.ek_sha256
    }
}

impl From<NodeId> for SpiffeId {
    fn from(node: NodeId) -> Self {
        node.id
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_its_hash_go_round() {
        let domain = TrustDomain::parse("example.org").unwrap();
        let node = NodeId::new(&domain, &[0xab; 32]).unwrap();
        let hash = "ab".repeat(32);
        assert_eq!(
            node.to_string(),
            format!("spiffe://example.org/spire/agent/tpm2/{hash}")
        );
        assert_eq!(node.ek_sha256(), &[0xab; 32]);
        assert_eq!(NodeId::ek_of(node.spiffe_id()), Some([0xab; 32]));
        assert_eq!(NodeId::hash_in(&node.to_string()), Some(hash.as_str()));
    }

    #[test]
    fn other_ids_are_no_nodes() {
        for path in [
            format!("/spire/agent/tpm2/{}", "AB".repeat(32)),
            format!("/spire/agent/tpm2/{}", "ab".repeat(31)),
            format!("/spire/agent/tpm2/{}", "ab".repeat(33)),
            format!("/spire/agent/tpm2/{}/x", "ab".repeat(32)),
            format!("/x/spire/agent/tpm2/{}", "ab".repeat(32)),
            format!("/spire/agent/x509pop/{}", "ab".repeat(32)),
        ] {
            let id = SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
            assert_eq!(NodeId::ek_of(&id), None, "{id}");
        }
    }
}
