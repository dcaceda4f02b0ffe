//! Rows that the store has and nobody is served by.

use hallmark_spiffe::SpiffeId;

/// An entry whose row does not read back, or that no request could have made. It grants nothing; all others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutEntry {
    /// Its id, as far as that can be read.
    pub id: String,
    /// Why it is left out.
    pub reason: String,
}

/// A node whose row does not read back. Nobody knows whether an operator had put it out: it counts as banned, until an
/// operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedNode {
    /// The node.
    pub id: SpiffeId,
    /// What is damaged.
    pub reason: String,
}
