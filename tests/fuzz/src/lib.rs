//! What the message targets share: one recorded attestation of a machine in software, whose root is trusted here only.
//!
//! The recording is made by `cargo run --bin seed`; it holds no private key.

use std::time::{Duration, SystemTime};

use hallmark_api::attest::{Tpm2Claim, Tpm2Proof};
use hallmark_evidence::{Claim, EvidenceError, Proof};
use hallmark_tpm_wire::templates::ek_template_named;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::{Challenge, EkRoots, EkTemplates, Trust, VerifiedClaim, verify_claim};
use prost::Message;
use zeroize::Zeroizing;

// The server's own conversion, without the rest of the server: that would be minutes of building for no more coverage.
#[path = "../../../server/src/convert/tpm2.rs"]
mod tpm2;

// The agent's own decoder of challenges, and its filter, without the rest of the agent and its TPM library.
#[path = "../../../firmware-agent/src/attest/challenge.rs"]
#[allow(dead_code, reason = "the agent encodes as well")]
mod agent_challenge;
pub mod authority;

/// The recorded claim in the form of [`decode_claim`].
pub const CLAIM: &[u8] = include_bytes!("../corpus/claim/recorded");
const ROOT: &[u8] = include_bytes!("../seed/root.der");

/// The exporter of the recorded connection.
pub const EXPORTER: [u8; 32] = [2; 32];
/// The recorded nonce.
pub const NONCE: [u8; 32] = [1; 32];
/// The recorded secret.
pub const SECRET: [u8; 32] = [3; 32];

/// A time at which the recorded certificates are valid.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// Trust in the recorded machine's vendor.
#[must_use]
pub fn trust(root: &[u8]) -> Trust {
    let mut roots = EkRoots::default();
    roots.add("recorded root", root).expect("the recorded root is good");
    Trust {
        roots,
        ek_templates: EkTemplates::new(ek_template_named("ecc-p256-l2").into_iter().collect()),
        ..Trust::default()
    }
}

/// [`trust`] in the recorded root.
#[must_use]
pub fn recorded_trust() -> Trust {
    trust(ROOT)
}

/// A CSR with its length in front (16 bits, big endian), then a `Tpm2Claim`; `None` where the framing or the protobuf is
/// broken.
#[must_use]
pub fn decode_claim(bytes: &[u8]) -> Option<Result<Claim, EvidenceError>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (csr, message) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(tpm2::claim(&Tpm2Claim::decode(message).ok()?, csr))
}

/// A `Tpm2Proof`; `None` where the protobuf is broken.
#[must_use]
pub fn decode_proof(bytes: &[u8]) -> Option<Result<Proof, EvidenceError>> {
    Some(tpm2::proof(&Tpm2Proof::decode(bytes).ok()?))
}

/// What an agent takes from a challenge.
pub struct TakenChallenge {
    /// The nonce.
    pub nonce: [u8; 32],
    /// `TPMS_ID_OBJECT` and the encrypted secret.
    pub credential: Option<(Vec<u8>, Vec<u8>)>,
    /// What is to be quoted.
    pub selection: PcrSelection,
    /// How many logs are wanted.
    pub logs: usize,
}

/// The agent's decoder of `Tpm2Challenge`.
///
/// # Errors
/// What the protocol does not allow.
pub fn take_challenge(bytes: &[u8]) -> Result<TakenChallenge, &'static str> {
    agent_challenge::Challenge::decode(bytes).map(|challenge| TakenChallenge {
        nonce: challenge.nonce,
        credential: challenge.credential,
        selection: challenge.selection,
        logs: challenge.logs.len(),
    })
}

/// The claim `bytes`, examined, with the recorded challenge to it.
///
/// # Panics
/// The claim is not one that `trust` accepts.
#[must_use]
pub fn challenged(bytes: &[u8], trust: &Trust) -> (VerifiedClaim, Challenge) {
    let claim = decode_claim(bytes).expect("framed").expect("within the limits");
    let verified_claim = verify_claim(claim, trust, None, now()).expect("the recorded claim is good");
    let selection = PcrSelection::new([(HashAlg::Sha256, [0, 7].as_slice())]).expect("a selection");
    let challenge = verified_claim
        .challenge_with(NONCE, Some(Zeroizing::new(SECRET)), selection, now())
        .expect("a credential can be made");
    (verified_claim, challenge)
}
