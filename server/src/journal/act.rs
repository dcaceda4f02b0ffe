//! Who changes something, and why.

/// Who changes something, and why: as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The caller, as exactly as it is known.
    pub by: String,
    /// Why, in the caller's words; empty where nothing was said.
    pub reason: String,
}
