//! What can change.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_policy::PolicySet;
use hallmark_spiffe::SpiffeId;
use hallmark_verify::Trust;

use super::{Key, Manifest, sha256};
use crate::{
    Action, AttestationState, Authority, EkCertificate, Entry, FirstRequest, ImageAssignment, JwtKey, NewEvidence,
    Node, NodeFacts, PolicyFile, PublishedJwtKey, TpmName, UpstreamBundle,
};

/// One change of the state. The changes of one transaction are durable together or not at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// Adds an entry, or puts it in the place of the one with its id.
    PutEntry {
        /// The entry.
        entry: Arc<Entry>,
        /// The one in whose place it comes, as the decision saw it.
        replaces: Option<Arc<Entry>>,
    },
    /// Removes an entry.
    DeleteEntry(Arc<Entry>),
    /// Adds a node, or replaces the one with the same id.
    PutNode(Arc<Node>),
    /// Removes a node.
    DeleteNode(SpiffeId),
    /// The node was judged by the rules in force, and stands as it did.
    PutAppraised {
        /// The node.
        node: SpiffeId,
        /// By what.
        appraised: crate::Appraised,
    },
    /// Adds a line of the inventory, or replaces the one of the same EK.
    PutInventoryLine(Arc<InventoryItem>),
    /// Removes a line of the inventory.
    DeleteInventoryLine(Arc<InventoryItem>),
    /// Keeps evidence in the place of what the node proved before.
    PutEvidence {
        /// The node.
        node: SpiffeId,
        /// How far it goes.
        state: Arc<AttestationState>,
        /// The SHA-256 of the facts that were proven; `None` in a change that is older than that digest.
        facts_sha256: Option<[u8; 32]>,
        /// As in [`NewEvidence`].
        drops_logs: bool,
        /// What was proven; `None` in a change that was read from the journal, beside which it stands.
        body: Option<Arc<NewEvidence>>,
    },
    /// The server's clock was ahead when this node's last quote was seen: the quote stays, its time goes.
    PutQuoteTime {
        /// The node.
        node: SpiffeId,
        /// How far its evidence goes, without the time.
        state: Arc<AttestationState>,
    },
    /// Puts other facts in the place of those that are kept of a node.
    PutFacts {
        /// The node.
        node: SpiffeId,
        /// The SHA-256 of the facts.
        sha256: [u8; 32],
        /// The facts; `None` in a change that was read from the journal, beside which they stand.
        body: Option<Arc<NodeFacts>>,
    },
    /// Keeps the certificate of an EK, in the place of the one before.
    PutEkCertificate {
        /// SHA-256 of the EK's SPKI.
        ek_sha256: [u8; 32],
        /// The SHA-256 of the certificate's text.
        sha256: [u8; 32],
        /// The certificate; `None` in a change that was read from the journal, beside which it stands.
        body: Option<Arc<EkCertificate>>,
    },
    /// Keeps a Name, in the place of the same one with another EK.
    PutTpmName(TpmName),
    /// These EKs are one machine's, as operators say. What stood with one of them before and is not named stands alone; one
    /// EK alone is of no machine.
    PutMachineEks(BTreeSet<EkId>),
    /// Adds a policy or baseline, or replaces the one with its kind and name.
    PutPolicyFile(Arc<PolicyFile>),
    /// Puts rules in force: their revision is the number of the record.
    PutRules {
        /// All that machines are held against; `None` in a change that was read from the journal: each server makes its own of
        /// its configuration and the policy files, and holds it against the manifest.
        set: Option<Arc<PolicySet>>,
        /// What they are made of, which tells them from others, over restarts and servers.
        manifest: Manifest,
    },
    /// Puts the configuration's trust anchors, inventory and revocation lists in force.
    PutTrust {
        /// All of them; `None` in a change that was read from the journal, as for rules.
        trust: Option<Arc<Trust>>,
        /// What it is made of.
        manifest: Manifest,
    },
    /// Adds an authority, or replaces the one with the same certificate.
    PutAuthority(Arc<Authority>),
    /// Takes a certificate of an authority out of the bundle.
    DeleteAuthority {
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
    /// Adds a key that signs JWT-SVIDs, or replaces the one with the same id.
    PutJwtKey(Arc<JwtKey>),
    /// Takes a key that signs JWT-SVIDs out of the bundle.
    DeleteJwtKey {
        /// Its id.
        key_id: String,
    },
    /// Adds a key that a server below this one signs JWT-SVIDs with, or replaces the one with the same id.
    PutPublishedJwtKey(Arc<PublishedJwtKey>),
    /// Takes a key that a server below this one published out of the bundle.
    DeletePublishedJwtKey {
        /// Its id.
        key_id: String,
    },
    /// Says all that the authority above says of the trust domain, in the place of what it said before.
    PutUpstream(Arc<UpstreamBundle>),
    /// Sets the bundle's sequence number, which only rises.
    PutBundleSequence(u64),
    /// What administrators asked for of a node and a second one has to ask for as well; empty for none.
    PutRequests {
        /// The node.
        node: SpiffeId,
        /// What was asked for.
        action: Action,
        /// By whom, and when.
        requests: Vec<FirstRequest>,
    },
    /// An SVID whose SPIFFE ID has a role is about to be signed: it is noted through which agent.
    PutRoleSvid {
        /// Its serial number.
        serial: u128,
        /// The agent.
        agent: SpiffeId,
        /// When it is issued, in Unix seconds.
        issued_at: i64,
        /// Its `notAfter`, in Unix seconds.
        expires_at: i64,
    },
    /// Assigns an image to a machine, or notes how far it is.
    PutImageAssignment(Arc<ImageAssignment>),
    /// Takes back the image that is assigned to this endorsement key's machine.
    DeleteImageAssignment(EkId),
}

impl Change {
    /// Keeps evidence in the place of what the node proved before.
    #[must_use]
    pub fn put_evidence(new: Arc<NewEvidence>, state: Arc<AttestationState>) -> Self {
        Self::PutEvidence {
            node: new.evidence.node.clone(),
            state,
            facts_sha256: Some(sha256(new.evidence.facts.as_bytes())),
            drops_logs: new.drops_logs,
            body: Some(new),
        }
    }

    /// Puts other facts in the place of those that are kept of a node.
    #[must_use]
    pub fn put_facts(new: Arc<NodeFacts>) -> Self {
        Self::PutFacts {
            node: new.node.clone(),
            sha256: sha256(new.facts.as_bytes()),
            body: Some(new),
        }
    }

    /// Keeps the certificate of an EK, in the place of the one before.
    #[must_use]
    pub fn put_ek_certificate(new: Arc<EkCertificate>) -> Self {
        Self::PutEkCertificate {
            ek_sha256: new.ek_sha256,
            sha256: sha256(new.certificate.as_bytes()),
            body: Some(new),
        }
    }

    /// Puts trust anchors, the configured inventory and revocation lists in force.
    #[must_use]
    pub fn put_trust(trust: Arc<Trust>) -> Self {
        Self::PutTrust {
            manifest: Manifest::of_trust(&trust),
            trust: Some(trust),
        }
    }

    /// Puts rules in force.
    #[must_use]
    pub const fn put_rules(set: Arc<PolicySet>, manifest: Manifest) -> Self {
        Self::PutRules {
            set: Some(set),
            manifest,
        }
    }

    /// Tells `touch` every key that the change touches.
    pub fn keys(&self, mut touch: impl FnMut(Key)) {
        match self {
            Self::PutEntry { entry, replaces } => {
                for entry in [Some(entry), replaces.as_ref()].into_iter().flatten() {
                    touch(Key::EntryPair(entry.spiffe_id.clone(), entry.parent_id.clone()));
                }
                touch(Key::Entry(entry.id.clone()));
                touch(Key::Entries);
            }
            Self::DeleteEntry(entry) => {
                touch(Key::EntryPair(entry.spiffe_id.clone(), entry.parent_id.clone()));
                touch(Key::Entry(entry.id.clone()));
                touch(Key::Entries);
            }
            Self::PutNode(node) => touch(Key::Node(node.id.clone())),
            Self::DeleteNode(node)
            | Self::PutAppraised { node, .. }
            | Self::PutEvidence { node, .. }
            | Self::PutFacts { node, .. }
            | Self::PutQuoteTime { node, .. } => touch(Key::Node(node.clone())),
            Self::PutInventoryLine(line) | Self::DeleteInventoryLine(line) => {
                line.eks().for_each(|ek| touch(Key::InventoryLine(ek)));
                touch(Key::Inventory);
            }
            Self::PutTpmName(name) => {
                touch(Key::TpmName(name.name.clone()));
                touch(Key::NamesOf(name.ek_sha256));
            }
            Self::PutMachineEks(_) => touch(Key::Machines),
            Self::PutPolicyFile(_) => touch(Key::PolicyFiles),
            Self::PutRules { .. } | Self::PutTrust { .. } => touch(Key::Rules),
            Self::PutAuthority(_)
            | Self::DeleteAuthority { .. }
            | Self::PutJwtKey(_)
            | Self::DeleteJwtKey { .. }
            | Self::PutPublishedJwtKey(_)
            | Self::DeletePublishedJwtKey { .. }
            | Self::PutUpstream(_)
            | Self::PutBundleSequence(_) => {
                touch(Key::Authorities);
            }
            Self::PutRequests { node, .. } => touch(Key::Requests(node.clone())),
            Self::PutImageAssignment(it) => touch(Key::ImageAssignment(it.ek)),
            Self::DeleteImageAssignment(ek) => touch(Key::ImageAssignment(*ek)),
            // Nothing is decided by what stands there of another serial number or EK.
            Self::PutEkCertificate { .. } | Self::PutRoleSvid { .. } => {}
        }
    }
}
