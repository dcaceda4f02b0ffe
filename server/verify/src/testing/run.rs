//! The whole honest exchange in one call, for those who need evidence that holds.

use std::time::SystemTime;

use hallmark_tpm_wire::{HashAlg, PcrSelection};
use zeroize::Zeroizing;

use super::machine::{ChallengeParts, SoftwareMachine};
use crate::{HeldLogs, KnownTpm, Trust, VerifiedEvidence, VerifyError, verify_claim, verify_logs, verify_proof};

/// Claim, challenge (SHA-256 bank, PCRs 0 to 7), proof and verdict of `machine` against `trust`.
///
/// # Errors
/// The verifier's refusal.
pub fn attest(
    machine: &SoftwareMachine,
    trust: &Trust,
    known: Option<&KnownTpm>,
    now: SystemTime,
) -> Result<VerifiedEvidence, VerifyError> {
    let exporter = [0x5a; 32];
    let selection = PcrSelection::new([(HashAlg::Sha256, &[0, 1, 2, 3, 4, 5, 6, 7][..])]).expect("a selection");
    let claim = machine.claim().decode().expect("the claim is well-formed");
    let verified_claim = verify_claim(claim, trust, known, now)?;
    let challenge = verified_claim.challenge_with([0x6b; 32], Some(Zeroizing::new([0x7c; 32])), selection, now)?;
    let proof = machine.prove(&ChallengeParts::from(&challenge), &exporter);
    let decoded = proof.decode().expect("the proof is well-formed");
    verify_logs(
        verify_proof(verified_claim, challenge, decoded, &exporter, now)?,
        proof.logs,
        &HeldLogs::default(),
    )
}
