//! The payloads of attestation type `tpm2`.

use hallmark_api::attest;
use hallmark_evidence::{
    Claim, EvidenceError, LogKind, PAYLOAD_VERSION, Proof, RawClaim, RawLog, RawPcrValue, RawProof, RawSigned,
};
use hallmark_verify::Challenge;

use crate::kept::Held;

/// Decodes a claim and the CSR that came beside it.
///
/// # Errors
/// When it breaks a limit or is malformed.
pub fn claim(message: &attest::Tpm2Claim, csr: &[u8]) -> Result<Claim, EvidenceError> {
    Claim::decode(&RawClaim {
        version: message.version,
        ek_certificate: &message.ek_certificate,
        ek_chain: &message.ek_chain,
        ek_public: &message.ek_public,
        ak_public: &message.ak_public,
        svid_public: &message.svid_public,
        csr,
    })
}

/// Decodes a proof.
///
/// # Errors
/// When it breaks a limit or is malformed.
pub fn proof(message: &attest::Tpm2Proof) -> Result<Proof, EvidenceError> {
    Proof::decode(&RawProof {
        version: message.version,
        activated_secret: &message.activated_secret,
        certify: signed(message.certify.as_ref()),
        quote: signed(message.quote.as_ref()),
        pcr_values: message
            .pcr_values
            .iter()
            .map(|value| RawPcrValue {
                hash_alg: value.hash_alg,
                pcr: value.pcr,
                digest: &value.digest,
            })
            .collect(),
        logs: message
            .logs
            .iter()
            .map(|log| RawLog {
                kind: log.kind,
                offset: log.offset,
                length: log.length,
                sha256: &log.sha256,
            })
            .collect(),
    })
}

/// A missing statement is an empty one, which decoding refuses by name.
fn signed(message: Option<&attest::Signed>) -> RawSigned<'_> {
    message.map_or(
        RawSigned {
            attest: &[],
            signature: &[],
        },
        |message| RawSigned {
            attest: &message.attest,
            signature: &message.signature,
        },
    )
}

/// A challenge as a message, which asks for what is new in the machine's logs beyond what is `held`.
#[must_use]
pub fn challenge_message(challenge: &Challenge, held: Option<&Held>) -> attest::Tpm2Challenge {
    let (credential_blob, encrypted_secret) = challenge.credential().map_or_else(Default::default, |credential| {
        (
            credential.id_object.clone().into(),
            credential.encrypted_secret.clone().into(),
        )
    });
    let banks = challenge.selection().banks().iter().map(|bank| attest::PcrSelection {
        hash_alg: u32::from(bank.hash().id()),
        pcrs: bank.pcrs().map(u32::from).collect(),
    });
    attest::Tpm2Challenge {
        version: PAYLOAD_VERSION,
        nonce: challenge.nonce().to_vec().into(),
        credential_blob,
        encrypted_secret,
        pcr_selection: banks.collect(),
        log_offsets: LogKind::ALL.map(|kind| log_offset(kind, held)).into(),
    }
}

fn log_offset(kind: LogKind, held: Option<&Held>) -> attest::LogOffset {
    attest::LogOffset {
        kind: i32::from(kind.number()),
        offset: held.map_or(0, |held| held.length(kind)),
        reset_count: held.map_or(0, |held| held.sighting.reset_count),
        restart_count: held.map_or(0, |held| held.sighting.restart_count),
    }
}
