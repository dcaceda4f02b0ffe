//! What decisions rest on, and what changes touch.

use hallmark_node::EkId;
use hallmark_spiffe::SpiffeId;
use hallmark_tpm_wire::Name;

use crate::EntryId;

/// A part of the state that a decision can rest on. A change touches the keys of everything that it changes; a transaction
/// is refused when a record after the decision has touched one of the keys that it expects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Key {
    /// All entries together.
    Entries,
    /// One entry, present or absent.
    Entry(EntryId),
    /// The entries for one SPIFFE ID below one parent: whether one of them says the same as another.
    EntryPair(SpiffeId, SpiffeId),
    /// A node's row and what it proved, present or absent.
    Node(SpiffeId),
    /// What administrators over TLS asked for and a second one has to ask for as well, of a node.
    Requests(SpiffeId),
    /// Which EKs operators list as one machine's.
    Machines,
    /// The EK that a Name was proven beside.
    TpmName(Name),
    /// The Names that were proven beside an EK.
    NamesOf([u8; 32]),
    /// All lines of the inventory together.
    Inventory,
    /// The line of the inventory that names this EK, present or absent.
    InventoryLine(EkId),
    /// The rules, policies, baselines, revocation lists and trust anchors in force.
    Rules,
    /// Every policy and baseline that was ever applied.
    PolicyFiles,
    /// The trust domain's authorities, and its bundle.
    Authorities,
    /// The image that is assigned under this EK, present or absent.
    ImageAssignment(EkId),
}
