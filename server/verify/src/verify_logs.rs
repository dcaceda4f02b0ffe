//! The third step: the logs.

use hallmark_evidence::Log;
use hallmark_evidence::ima::ImaReplay;

use crate::VerifyError;
use crate::evidence::VerifiedEvidence;
use crate::verify_proof::VerifiedProof;

/// What the caller holds of the machine's logs from evidence of the same boot, so that only what is new has to come.
///
/// It may be used only where resetCount and restartCount of the quote are those of the evidence that it comes from
/// (see [`VerifiedProof::clock_info`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldLogs {
    /// The firmware's log so far.
    pub tcg: Vec<u8>,
    /// systemd's log so far.
    pub systemd: Vec<u8>,
    /// How many bytes of the IMA list are held, and the replay of their lines.
    pub ima: Option<(u64, ImaReplay)>,
}

impl HeldLogs {
    /// How many bytes have to be replayed again.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.tcg.len() + self.systemd.len()
    }
}

/// Judges the logs that followed a proof which holds.
///
/// # Errors
/// [`VerifyError`] if they are not the announced ones, do not go on where `held` ends, or do not give the quoted
/// registers.
pub fn verify_logs(
    verified_proof: VerifiedProof,
    logs: Vec<Log>,
    held: &HeldLogs,
) -> Result<VerifiedEvidence, VerifyError> {
    let state = verified_proof.quoted.with_logs(logs, held)?;
    let (tpm, key) = (verified_proof.tpm, verified_proof.key);
    Ok(VerifiedEvidence::new(tpm, key, state, verified_proof.exchange))
}
