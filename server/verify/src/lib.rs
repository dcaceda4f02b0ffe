//! Evidence, trust anchors, a challenge and the time, judged: [`VerifiedEvidence`].
//!
//! A proof has three parts: [`ProvenTpm`], [`ProvenKey`] and [`ProvenState`]. An attestation takes all three, in four steps,
//! each from one type to the next, none of which can be left out:
//!
//! 1. [`verify_claim()`]: a `Claim` (decoded, nothing believed) and the operator's [`Trust`] give [`VerifiedClaim`]: the EK
//!    belongs here, the keys are of the right kind, the CSR is signed by the key that it is for.
//! 2. [`VerifiedClaim::challenge_with`] gives the [`Challenge`]: nonce, credential for (EK, AK), PCR selection.
//! 3. [`verify_proof()`] takes both away and judges the `Proof`: [`VerifiedProof`], to which only the logs are missing.
//! 4. [`verify_logs()`] judges the logs: [`VerifiedEvidence`].
//!
//! A continuous challenge takes the third part alone, of a node whose first two are known: [`StateChallenge::for_node`],
//! [`verify_state()`], [`QuotedState::with_logs`]. So does [`offline`], of evidence that was kept. Whether a quote follows the
//! last one of its TPM is judged by [`history::AgentRuns::require_follows`], whoever asks.
//!
//! Everything is pure: time, nonce, secret and the connection's TLS exporter are arguments. (Making a credential takes
//! its seed from the cryptographic library.) Every refusal is a [`VerifyError`] with a stable code; what the refused
//! node may learn of it is its [`RefusalClass`].

pub mod boot;
mod challenge;
mod ek;
mod enrolment;
mod error;
mod evidence;
mod fingerprint;
pub mod history;
pub mod ima;
mod keys;
mod logs;
pub mod offline;
mod proven;
mod refusal;
mod statement;
#[cfg(any(test, feature = "software-machine"))]
pub mod testing;
mod trust;
mod verify_claim;
mod verify_logs;
mod verify_proof;
mod verify_state;

pub use challenge::{CHALLENGE_LIFETIME, Challenge, ChallengeError, StateChallenge};
pub use ek::{CertificateFacts, EkCertificateError, MAX_CERTIFICATE_BYTES, MAX_INTERMEDIATES, TpmAttributes};
pub use enrolment::{EnrolledBy, EnrolmentError, is_revoked, revoked_certificate};
pub use error::VerifyError;
pub use evidence::{ProvenLogs, VerifiedEvidence};
pub use hallmark_der::DerFault;
pub use keys::{CsrError, KeyError, KeyFault, KeyRole, MAX_CSR_BYTES};
pub use logs::LogsError;
pub use proven::{ProvenKey, ProvenState, ProvenTpm, QuotedState};
pub use refusal::RefusalClass;
pub use statement::{StatementError, StatementFault, StatementKind};
pub use trust::{
    EkRoots, EkTemplates, ExpiredPolicy, Inventory, InventoryMatch, KnownTpm, Revocation, Trust, TrustError,
};
pub use verify_claim::{VerifiedClaim, ek_sha256, verify_claim};
pub use verify_logs::{HeldLogs, verify_logs};
pub use verify_proof::{VerifiedProof, verify_proof};
pub use verify_state::{KnownNode, StateProof, verify_state};
