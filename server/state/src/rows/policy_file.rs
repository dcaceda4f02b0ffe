//! Policies and baselines, as they were applied.

/// A policy or baseline that was applied. One whose key is kind and name; it stays when it is withdrawn, so that an older
/// one cannot come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// `policy` or `baseline`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its serial number.
    pub serial: u64,
    /// The exact bytes of the policy or baseline.
    pub payload: Vec<u8>,
    /// The signed file that it came in; empty for one that was not signed.
    pub signed: String,
    /// When it was applied, in Unix seconds.
    pub applied_at: i64,
    /// Whether it is in force.
    pub in_force: bool,
}
