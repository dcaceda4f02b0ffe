//! The software machine of `hallmark_verify::testing`, on the wire.

use crate::{Attempt, Wire};
use bytes::Bytes;
use hallmark_api::attest::{Log, PcrValue, Signed, Tpm2Challenge, Tpm2Claim, Tpm2Proof};
use hallmark_api::types::X509svid;
use hallmark_evidence::PAYLOAD_VERSION;
use hallmark_tpm_wire::credential::Credential;
use hallmark_verify::testing::{ChallengeParts, ClaimParts, ProofDraft, ProofParts, SignedParts, SoftwareMachine};
use prost::Message as _;
use tonic::Status;

/// A claim as a protobuf message, with its CSR.
#[must_use]
pub fn claim_message(parts: &ClaimParts) -> (Tpm2Claim, Bytes) {
    let claim = Tpm2Claim {
        version: PAYLOAD_VERSION,
        ek_certificate: parts.ek_certificate.clone().unwrap_or_default().into(),
        ek_chain: parts.ek_chain.iter().cloned().map(Bytes::from).collect(),
        ek_public: parts.ek_public.clone().into(),
        ak_public: parts.ak_public.clone().into(),
        svid_public: parts.svid_public.clone().into(),
        session: parts.session,
    };
    (claim, parts.csr.clone().into())
}

/// What a machine sees of a challenge.
///
/// # Errors
/// When the server's message has not the right shape.
pub fn challenge_parts(challenge: &Tpm2Challenge) -> Result<ChallengeParts, Status> {
    let shape = |_| Status::internal("a challenge of the wrong shape");
    let selection = challenge.pcr_selection.iter().map(|bank| {
        let pcrs = bank
            .pcrs
            .iter()
            .map(|pcr| u8::try_from(*pcr))
            .collect::<Result<_, _>>()
            .map_err(shape)?;
        Ok((u16::try_from(bank.hash_alg).map_err(shape)?, pcrs))
    });
    let credential = (!challenge.credential_blob.is_empty()).then(|| Credential {
        id_object: challenge.credential_blob.to_vec(),
        encrypted_secret: challenge.encrypted_secret.to_vec(),
    });
    Ok(ChallengeParts {
        nonce: challenge
            .nonce
            .as_ref()
            .try_into()
            .map_err(|_| Status::internal("a nonce of the wrong size"))?,
        credential,
        selection: selection.collect::<Result<_, Status>>()?,
    })
}

/// A proof as a protobuf message.
#[must_use]
pub fn proof_message(parts: &ProofParts) -> Tpm2Proof {
    let signed = |s: &SignedParts| {
        Some(Signed {
            attest: s.attest.clone().into(),
            signature: s.signature.clone().into(),
        })
    };
    Tpm2Proof {
        version: PAYLOAD_VERSION,
        activated_secret: parts.activated_secret.clone().unwrap_or_default().into(),
        certify: signed(&parts.certify),
        quote: signed(&parts.quote),
        pcr_values: parts
            .pcr_values
            .iter()
            .map(|(alg, pcr, digest)| PcrValue {
                hash_alg: u32::from(*alg),
                pcr: u32::from(*pcr),
                digest: digest.clone().into(),
            })
            .collect(),
        logs: parts
            .logs
            .iter()
            .map(hallmark_evidence::Log::digest)
            .map(|log| Log {
                kind: i32::from(log.kind.number()),
                offset: log.offset,
                length: log.length,
                sha256: log.sha256.to_vec().into(),
            })
            .collect(),
    }
}

/// The machine attests over this connection, with one thing changed before it signs.
///
/// # Errors
/// The status with which the server refuses.
pub async fn attest_with(
    wire: &Wire,
    machine: &SoftwareMachine,
    claim: &ClaimParts,
    change: impl FnOnce(&mut ProofDraft),
) -> Result<X509svid, Status> {
    let (mut attempt, challenge) = open(wire, claim).await?;
    let proof = machine.prove_with(&challenge, wire.exporter(), change);
    attempt.send(proof_message(&proof).encode_to_vec().into()).await?;
    // A server that refuses on the way says why in its answer.
    drop(attempt.send_logs(&proof.logs).await);
    attempt.svid().await
}

/// The machine attests honestly.
///
/// # Errors
/// The status with which the server refuses.
pub async fn attest(wire: &Wire, machine: &SoftwareMachine) -> Result<X509svid, Status> {
    attest_with(wire, machine, &machine.claim(), |_| {}).await
}

/// Sends a claim and returns the attempt with its challenge.
///
/// # Errors
/// The status with which the server refuses.
pub async fn open(wire: &Wire, claim: &ClaimParts) -> Result<(Attempt, ChallengeParts), Status> {
    let (claim, csr) = claim_message(claim);
    let (attempt, challenge) = wire.claim(&claim, csr).await?;
    let parts = challenge_parts(&challenge)?;
    Ok((attempt, parts))
}
