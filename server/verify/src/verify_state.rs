//! A continuous challenge: the state alone, of a node whose TPM and key are known.

use std::time::SystemTime;

use hallmark_evidence::{Binding, LogDigest, Signed};
use hallmark_tpm_wire::PcrValues;

use crate::VerifyError;
use crate::challenge::StateChallenge;
use crate::history::{AgentRunId, AgentRuns};
use crate::proven::{ProvenKey, ProvenTpm, QuotedState};

/// What a machine shows of its state: the third part of an attestation's proof, and all of a continuous challenge's answer.
#[derive(Debug, Clone)]
pub struct StateProof {
    /// The quote.
    pub quote: Signed,
    /// The values of the quoted registers.
    pub pcr_values: PcrValues,
    /// The logs that follow.
    pub logs: Vec<LogDigest>,
}

/// A node as its attestation proved it, with what it proved since.
#[derive(Debug, Clone, Copy)]
pub struct KnownNode<'a> {
    /// Its TPM.
    pub tpm: &'a ProvenTpm,
    /// The key of the SVID that it holds.
    pub key: &'a ProvenKey,
    /// Its last quote, and the runs of its agent.
    pub runs: &'a AgentRuns,
    /// The run of its agent that answers.
    pub run: AgentRunId,
}

/// Judges the answer to a continuous challenge: the quote is of the node's AK, under this challenge, this connection
/// (`exporter`) and the node's key, of the boot in which the key was certified, and follows the last one. Whatever comes
/// out, the challenge answers no more.
///
/// The caller, once the logs have come and hold, notes the quote by [`AgentRuns::observe`].
///
/// # Errors
/// [`VerifyError`] for the first thing that does not hold. A machine that was booted since must attest anew: its key is
/// gone.
pub fn verify_state(
    node: KnownNode<'_>,
    challenge: StateChallenge,
    proof: StateProof,
    exporter: &[u8; 32],
    now: SystemTime,
) -> Result<QuotedState, VerifyError> {
    challenge.require_open(node.tpm, node.key, now)?;
    let binding = Binding::compute(challenge.nonce(), exporter, node.key.name(), &proof.logs);
    let quoted = QuotedState::verify(node.tpm.ak(), proof, &binding, challenge.selection())?;
    node.key.require_same_boot(&quoted)?;
    node.runs.require_follows(node.run, &quoted.quote_clock(now))?;
    Ok(quoted)
}
