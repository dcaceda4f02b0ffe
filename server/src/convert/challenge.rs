//! What nodes are asked in attestation type `tpm2`.

use hallmark_api::attest;
use hallmark_evidence::{LogKind, PAYLOAD_VERSION};
use hallmark_verify::Challenge;

use hallmark_state::AttestationState;

/// A challenge as a message, which asks for what is new in the machine's logs beyond what is `held`.
#[must_use]
pub fn challenge_message(challenge: &Challenge, held: Option<&AttestationState>) -> attest::Tpm2Challenge {
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

fn log_offset(kind: LogKind, held: Option<&AttestationState>) -> attest::LogOffset {
    attest::LogOffset {
        kind: i32::from(kind.number()),
        offset: held.map_or(0, |held| held.length(kind)),
        reset_count: held.map_or(0, |held| held.quote_clock.reset_count),
        restart_count: held.map_or(0, |held| held.quote_clock.restart_count),
    }
}
