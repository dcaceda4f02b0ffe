//! What can change.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_policy::PolicySet;
use hallmark_spiffe::SpiffeId;
use hallmark_verify::Trust;

use super::Key;
use crate::{
    Action, AttestationState, Authority, EkCertificate, Entry, FirstRequest, NewEvidence, Node, NodeFacts, PolicyFile,
    TpmName,
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
        /// What was proven.
        evidence: Arc<NewEvidence>,
        /// How far it goes.
        state: Arc<AttestationState>,
    },
    /// The server's clock was ahead when this node's last quote was seen: the quote stays, its time goes.
    PutQuoteTime {
        /// The node.
        node: SpiffeId,
        /// How far its evidence goes, without the time.
        state: Arc<AttestationState>,
    },
    /// Puts other facts in the place of those that are kept of a node.
    PutFacts(Arc<NodeFacts>),
    /// Keeps the certificate of an EK, in the place of the one before.
    PutEkCertificate(Arc<EkCertificate>),
    /// Keeps a Name, in the place of the same one with another EK.
    PutTpmName(TpmName),
    /// These EKs are one machine's, as operators say. What stood with one of them before and is not named stands alone; one
    /// EK alone is of no machine.
    PutMachineEks(BTreeSet<EkId>),
    /// Adds a policy or baseline, or replaces the one with its kind and name.
    PutPolicyFile(Arc<PolicyFile>),
    /// Puts rules in force: their revision is the number of the record.
    PutRules {
        /// All that machines are held against.
        set: Arc<PolicySet>,
        /// What tells them from others, over restarts: SHA-256.
        digest: [u8; 32],
    },
    /// Puts the configuration's trust anchors, inventory and revocation lists in force.
    PutTrust(Arc<Trust>),
    /// Adds an authority, or replaces the one with the same certificate.
    PutAuthority(Arc<Authority>),
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
}

impl Change {
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
            Self::PutEvidence { evidence, .. } => touch(Key::Node(evidence.evidence.node.clone())),
            Self::PutFacts(facts) => touch(Key::Node(facts.node.clone())),
            Self::DeleteNode(node) | Self::PutAppraised { node, .. } | Self::PutQuoteTime { node, .. } => {
                touch(Key::Node(node.clone()));
            }
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
            Self::PutRules { .. } | Self::PutTrust(_) => touch(Key::Rules),
            Self::PutAuthority(_) | Self::PutBundleSequence(_) => touch(Key::Authorities),
            Self::PutRequests { node, .. } => touch(Key::Requests(node.clone())),
            // Nothing is decided by what stands there of another serial number or EK.
            Self::PutEkCertificate(_) | Self::PutRoleSvid { .. } => {}
        }
    }
}
