//! A server that trusts one vendor, and one machine of that vendor.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_reason::Coded;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::testing::{ChallengeParts, ClaimParts, ProofDraft, ProofParts, SoftwareMachine, VendorCa};
use hallmark_verify::{
    Challenge, HeldLogs, KnownTpm, Trust, VerifiedClaim, VerifiedEvidence, verify_claim, verify_logs, verify_proof,
};
use zeroize::Zeroizing;

pub(crate) const NONCE: [u8; 32] = [0x11; 32];
pub(crate) const SECRET: [u8; 32] = [0x22; 32];
pub(crate) const EXPORTER: [u8; 32] = [0x33; 32];

/// 2026-11-23.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

/// The same in Unix seconds.
pub(crate) fn unix(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub(crate) fn selection() -> PcrSelection {
    PcrSelection::new([(HashAlg::Sha256, &[0, 1, 2, 3, 4, 5, 6, 7][..])]).unwrap()
}

pub(crate) struct Scene {
    pub(crate) vendor: VendorCa,
    pub(crate) trust: Trust,
    pub(crate) machine: SoftwareMachine,
    pub(crate) known: Option<KnownTpm>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let vendor = VendorCa::new();
        let machine = SoftwareMachine::new(&vendor);
        Self {
            trust: SoftwareMachine::trust(&vendor),
            vendor,
            machine,
            known: None,
        }
    }

    /// The refusal's code as text, or the evidence.
    pub(crate) fn run(&self) -> Result<VerifiedEvidence, String> {
        self.attack(|_| {}, |_| {}, |_| {})
    }

    pub(crate) fn with_claim(&self, claim: impl FnOnce(&mut ClaimParts)) -> Result<VerifiedEvidence, String> {
        self.attack(claim, |_| {}, |_| {})
    }

    pub(crate) fn with_draft(&self, draft: impl FnOnce(&mut ProofDraft)) -> Result<VerifiedEvidence, String> {
        self.attack(|_| {}, draft, |_| {})
    }

    pub(crate) fn with_proof(&self, proof: impl FnOnce(&mut ProofParts)) -> Result<VerifiedEvidence, String> {
        self.attack(|_| {}, |_| {}, proof)
    }

    pub(crate) fn attack(
        &self,
        claim: impl FnOnce(&mut ClaimParts),
        draft: impl FnOnce(&mut ProofDraft),
        proof: impl FnOnce(&mut ProofParts),
    ) -> Result<VerifiedEvidence, String> {
        let mut parts = self.machine.claim();
        claim(&mut parts);
        let verified_claim = self.verify_claim(&parts)?;
        let challenge = challenge(&verified_claim);
        let mut answer = self
            .machine
            .prove_with(&ChallengeParts::from(&challenge), &EXPORTER, draft);
        proof(&mut answer);
        finish(verified_claim, challenge, &answer)
    }

    pub(crate) fn verify_claim(&self, parts: &ClaimParts) -> Result<VerifiedClaim, String> {
        let claim = parts.decode().map_err(|error| error.code().to_string())?;
        verify_claim(claim, &self.trust, self.known.as_ref(), now()).map_err(|error| error.code().to_string())
    }
}

pub(crate) fn challenge(verified_claim: &VerifiedClaim) -> Challenge {
    verified_claim
        .challenge_with(NONCE, Some(Zeroizing::new(SECRET)), selection(), now())
        .unwrap()
}

pub(crate) fn finish(
    verified_claim: VerifiedClaim,
    challenge: Challenge,
    answer: &ProofParts,
) -> Result<VerifiedEvidence, String> {
    let proof = answer.decode().map_err(|error| error.code().to_string())?;
    verify_proof(verified_claim, challenge, proof, &EXPORTER, now())
        .and_then(|verified_proof| verify_logs(verified_proof, answer.logs.clone(), &HeldLogs::default()))
        .map_err(|error| error.code().to_string())
}

/// The code of a refusal; a success is a failed test.
pub(crate) fn refused(result: Result<VerifiedEvidence, String>, what: &str) -> String {
    match result {
        Ok(_) => panic!("{what}: accepted"),
        Err(code) => code,
    }
}
