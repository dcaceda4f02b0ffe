//! What is kept of a node's evidence, as it is read back.

use hallmark_policy::{ImaSummary, MeasuredFile};
use hallmark_spiffe::SpiffeId;
use hallmark_store::StoreError;

/// Puts the stored `lines` of a list in their place.
///
/// # Errors
/// They are not those of the list.
pub(crate) fn recall(node: &SpiffeId, files: &mut ImaSummary, lines: &[u8]) -> Result<(), StoreError> {
    let lines = MeasuredFile::from_lines(lines).map_err(|error| undecodable(node, &error))?;
    if files.recall(lines) {
        return Ok(());
    }
    Err(StoreError::Undecodable {
        what: format!("the evidence of {node}"),
        reason: "lines of its IMA list are missing".to_owned(),
    })
}

/// The error for kept evidence that does not read back.
pub(crate) fn undecodable(node: &SpiffeId, error: &dyn std::error::Error) -> StoreError {
    StoreError::Undecodable {
        what: format!("the evidence of {node}"),
        reason: error.to_string(),
    }
}
