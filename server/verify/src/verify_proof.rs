//! The second step: the proof.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hallmark_evidence::{Binding, LogDigest, Proof};
use hallmark_node::EkId;
use hallmark_tpm_wire::{ClockInfo, Name};

use crate::VerifyError;
use crate::challenge::Challenge;
use crate::evidence::Exchange;
use crate::history::{AgentRunId, AgentRuns, HistoryError, QuoteClock, Succession};
use crate::proven::{ProvenKey, ProvenTpm, QuotedState};
use crate::trust::Trust;
use crate::verify_claim::VerifiedClaim;
use crate::verify_state::StateProof;

/// A TPM, a key and a quote that are proven, of one exchange; the logs that the quote is bound to have yet to come.
///
/// From here on the sender is known to be the TPM's machine, so it may send as much as it announced.
#[derive(Debug)]
pub struct VerifiedProof {
    pub(crate) tpm: ProvenTpm,
    pub(crate) key: ProvenKey,
    pub(crate) quoted: QuotedState,
    pub(crate) exchange: Exchange,
}

impl VerifiedProof {
    /// Clock (ms), resetCount, restartCount and `safe`, from the quote: they tell whether what is held of the machine's
    /// logs is of the same boot.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        self.quoted.clock_info()
    }

    /// Counters, clock and firmware version of the quote, seen at `now`.
    #[must_use]
    pub fn quote_clock(&self, now: SystemTime) -> QuoteClock {
        self.quoted.quote_clock(now)
    }

    /// Whether the quote, seen at `now`, can follow what was proven of this TPM before, from this run of the agent. The
    /// caller who keeps it asks again, by [`AgentRuns::observe`].
    ///
    /// # Errors
    /// As [`AgentRuns::require_follows`].
    pub fn require_follows(
        &self,
        runs: &AgentRuns,
        run: AgentRunId,
        now: SystemTime,
    ) -> Result<Succession, HistoryError> {
        runs.require_follows(run, &self.quote_clock(now))
    }

    /// SHA-256 of the EK's canonical SPKI, DER.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        self.tpm.ek_sha256()
    }

    /// The Names that an inventory may know the EK by.
    #[must_use]
    pub fn ek_names(&self) -> BTreeSet<Name> {
        self.tpm.ek_names()
    }

    /// Every id by which an inventory may know the EK.
    pub fn ek_ids(&self) -> impl Iterator<Item = EkId> {
        self.tpm.ek_ids()
    }

    /// How many certificates came with that of the EK, or are kept with it.
    #[must_use]
    pub const fn intermediates(&self) -> usize {
        self.tpm.intermediates()
    }

    /// Judges by `trust`, at `now`, whether the EK still belongs here: between claim and proof lies the time that the
    /// sender took.
    ///
    /// # Errors
    /// As [`ProvenTpm::enrolled_again`].
    pub fn enrolled_again(self, trust: &Trust, now: SystemTime) -> Result<Self, VerifyError> {
        Ok(Self {
            tpm: self.tpm.enrolled_again(trust, now)?,
            ..self
        })
    }

    /// The AK's Name, which was proven to be of a key in the EK's TPM: now, or by what the caller recorded.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        self.tpm.ak_name()
    }

    /// The logs that must follow, in this order.
    #[must_use]
    pub fn logs(&self) -> &[LogDigest] {
        self.quoted.logs()
    }
}

/// Judges the answer to a challenge: the TPM, the key, the quote, in this order. Claim and challenge are taken away:
/// whatever comes out, they answer no more.
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
    challenge.require_open(&verified_claim, now)?;
    let VerifiedClaim { tpm, key, .. } = verified_claim;
    let secret = proof.activated_secret.as_ref().map(|secret| secret.as_slice());
    let tpm = ProvenTpm::activated(tpm, &challenge, secret)?;
    let binding = Binding::compute(challenge.nonce(), exporter, &key.name, &proof.logs);
    let key = ProvenKey::certified(&tpm, key, &proof.certify, &binding)?;
    let state = StateProof {
        quote: proof.quote,
        pcr_values: proof.pcr_values,
        logs: proof.logs,
    };
    let quoted = QuotedState::verify(tpm.ak(), state, &binding, challenge.selection())?;
    key.require_same_boot(&quoted)?;
    Ok(VerifiedProof {
        tpm,
        key,
        quoted,
        exchange: Exchange {
            nonce: *challenge.nonce(),
            binding,
        },
    })
}
