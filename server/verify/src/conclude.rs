//! The third step: the logs.

use hallmark_evidence::Log;

use crate::VerifyError;
use crate::bind::BoundEvidence;
use crate::evidence::VerifiedEvidence;
use crate::logs::require_announced;

/// Judges the logs that followed a proof which holds.
///
/// # Errors
/// [`VerifyError`] if they are not the announced ones.
pub fn conclude(bound: BoundEvidence, logs: &[Log]) -> Result<VerifiedEvidence, VerifyError> {
    require_announced(&bound.logs, logs)?;
    Ok(bound.evidence)
}
