//! What nodes send in attestation type `tpm2`.

use hallmark_api::attest;
use hallmark_evidence::{Claim, EvidenceError, Proof, RawClaim, RawLog, RawPcrValue, RawProof, RawSigned};

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
        session: message.session,
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
