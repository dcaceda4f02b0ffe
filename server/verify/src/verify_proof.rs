//! The second step: the proof.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hallmark_evidence::{Binding, LogDigest, Proof};
use hallmark_node::EkId;
use hallmark_tpm_wire::{Attest, ClockInfo, Name, PublicArea};

use crate::VerifyError;
use crate::challenge::Challenge;
use crate::enrolment::enrol_again;
use crate::evidence::VerifiedEvidence;
use crate::history::QuoteClock;
use crate::keys::KeyRole;
use crate::statement::{StatementError, StatementFault, StatementKind, verify_certify, verify_quote};
use crate::trust::{Trust, names_of};
use crate::verify_claim::{VerifiedClaim, spki};

/// Statements that hold, bound to this exchange; the logs that they are bound to have yet to come.
///
/// From here on the sender is known to be the TPM's machine, so it may send as much as it announced.
#[derive(Debug)]
pub struct VerifiedProof {
    pub(crate) evidence: VerifiedEvidence,
    pub(crate) logs: Vec<LogDigest>,
    ek_public: PublicArea,
    ek_names: BTreeSet<Name>,
}

impl VerifiedProof {
    /// Clock (ms), resetCount, restartCount and `safe`, from the quote: they tell whether what is held of the machine's
    /// logs is of the same boot.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        &self.evidence.clock
    }

    /// Counters, clock and firmware version of the quote, seen at `now`: what must follow the sighting before.
    #[must_use]
    pub fn quote_clock(&self, now: SystemTime) -> QuoteClock {
        QuoteClock::of(&self.evidence, now)
    }

    /// SHA-256 of the EK's canonical SPKI, DER.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        self.evidence.ek_sha256()
    }

    /// The Names that an inventory may know the EK by.
    #[must_use]
    pub fn ek_names(&self) -> &BTreeSet<Name> {
        &self.ek_names
    }

    /// Every key by which an inventory may know the EK.
    pub fn ek_ids(&self) -> impl Iterator<Item = EkId> {
        let names = self.ek_names.iter().filter_map(EkId::of_name);
        std::iter::once(EkId::Spki(*self.ek_sha256())).chain(names)
    }

    /// How many certificates came with that of the EK, or are kept with it.
    #[must_use]
    pub const fn intermediates(&self) -> usize {
        self.evidence.ek_chain.len()
    }

    /// Judges by `trust`, at `now`, whether the EK still belongs here: between claim and proof lies the time that the
    /// sender took, in which operators may have changed the inventory, and lines and certificates may have expired.
    ///
    /// # Errors
    /// As [`verify_claim`](crate::verify_claim()) for an EK that does not belong here.
    pub fn enrolled_again(mut self, trust: &Trust, now: SystemTime) -> Result<Self, VerifyError> {
        let ek_spki = spki(&self.ek_public, KeyRole::Ek)?;
        self.evidence.ek = enrol_again(&self.evidence.ek, &self.ek_public, &ek_spki, trust, now)?;
        Ok(self)
    }

    /// The AK's Name, which was proven to be of a key in the EK's TPM: now, or by what the caller recorded.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        self.evidence.ak_name()
    }

    /// The logs that must follow, in this order.
    #[must_use]
    pub fn logs(&self) -> &[LogDigest] {
        &self.logs
    }
}

/// Judges the answer to a challenge. Claim and challenge are taken away: whatever comes out, they answer no more.
///
/// `exporter` is the TLS exporter of the connection on which the proof came (see `hallmark_evidence`), so a proof that
/// was made for another connection cannot pass.
///
/// # Errors
/// [`VerifyError`] for the first thing that does not hold: the challenge, the certification of the SVID key, the quote.
pub fn verify_proof(
    verified_claim: VerifiedClaim,
    challenge: Challenge,
    proof: Proof,
    exporter: &[u8; 32],
    now: SystemTime,
) -> Result<VerifiedProof, VerifyError> {
    let secret = proof.activated_secret.as_ref().map(|secret| secret.as_slice());
    challenge.require_answered(&verified_claim, secret, now)?;
    let binding = Binding::compute(&challenge.nonce, exporter, &verified_claim.svid_name, &proof.logs);
    let certify = verify_certify(
        &proof.certify,
        &verified_claim.ak_public,
        &binding,
        &verified_claim.svid_name,
    )?;
    let quoted = verify_quote(
        &proof.quote,
        &verified_claim.ak_public,
        &binding,
        &challenge.selection,
        proof.pcr_values,
    )?;
    require_same_boot(&certify, &quoted.attest)?;
    Ok(VerifiedProof {
        ek_names: names_of(&verified_claim.ek_public),
        ek_public: verified_claim.ek_public.clone(),
        evidence: VerifiedEvidence::new(verified_claim, &challenge, quoted, proof.quote, binding),
        logs: proof.logs,
    })
}

/// Both statements come from one TPM with one life: else the state that was quoted is not the state in which the key
/// was certified.
fn require_same_boot(certify: &Attest, quote: &Attest) -> Result<(), StatementError> {
    let boot = |attest: &Attest| {
        (
            attest.clock_info.reset_count,
            attest.clock_info.restart_count,
            attest.firmware_version,
        )
    };
    if boot(certify) == boot(quote) {
        return Ok(());
    }
    let text = |(reset, restart, firmware): (u32, u32, u64)| format!("{reset}/{restart}/{firmware:016x}");
    let (certified, quoted) = (text(boot(certify)), text(boot(quote)));
    Err(StatementError {
        kind: StatementKind::Quote,
        fault: StatementFault::OtherBoot { certified, quoted },
    })
}
