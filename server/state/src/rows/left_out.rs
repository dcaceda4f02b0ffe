//! Rows that the store has and nobody is served by.

/// An entry whose row does not read back, or that no request could have made. It grants nothing; all others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutEntry {
    /// Its id, as far as that can be read.
    pub id: String,
    /// Why it is left out.
    pub reason: String,
}
