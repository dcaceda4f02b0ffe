//! What can be written.

use std::collections::BTreeSet;

use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Entry, EntryId};

use crate::{
    Agent, Authority, EkCertificate, NewEvidence, NodeFacts, PolicyFile, Record, SvidIntents, SvidOutcome, TpmName,
};

/// One change. Changes committed together are durable together or not at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// Adds an entry; refused when its id is taken.
    CreateEntry(Box<Entry>),
    /// Replaces the entry with the same id; refused when there is none.
    UpdateEntry(Box<Entry>),
    /// Removes an entry; refused when there is none.
    DeleteEntry(EntryId),
    /// Adds an agent, or replaces the one with the same id.
    PutAgent(Box<Agent>),
    /// Removes an agent; refused when there is none.
    DeleteAgent(SpiffeId),
    /// Adds a line of the inventory, or replaces the one of the same EK.
    PutInventory(Box<InventoryItem>),
    /// Removes a line of the inventory; refused when there is none.
    DeleteInventory(EkId),
    /// Keeps evidence in the place of what the node proved before; refused when a part of a log does not begin where the
    /// log ends.
    PutEvidence(Box<NewEvidence>),
    /// Puts other facts in the place of those that are kept of a node; refused when none are.
    PutFacts(Box<NodeFacts>),
    /// Keeps the certificate of an EK, in the place of the one before.
    PutEkCertificate(Box<EkCertificate>),
    /// Keeps a Name, in the place of the same one with another EK.
    PutTpmName(Box<TpmName>),
    /// These EKs are one machine's, as operators say. What stood with one of them before and is not named stands alone; one
    /// EK alone is of no machine.
    PutMachineEks(BTreeSet<EkId>),
    /// Adds a policy or baseline, or replaces the one with its kind and name.
    PutPolicyFile(Box<PolicyFile>),
    /// Adds an authority, or replaces the one with the same certificate.
    PutAuthority(Authority),
    /// Sets the bundle's sequence number; refused when that is not above the present one.
    BundleSequence(u64),
    /// Appends a record of a verdict or of an operator's act.
    Record(Record),
    /// Appends one record per SVID about to be signed.
    SvidIntents(SvidIntents),
    /// Appends what became of recorded intents.
    SvidOutcome(SvidOutcome),
}
