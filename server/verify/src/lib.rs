//! Evidence, trust anchors, a challenge and the time, judged: [`VerifiedEvidence`].
//!
//! Four steps, each from one type to the next, none of which can be left out:
//!
//! 1. [`examine`]: a `Claim` (decoded, nothing believed) and the operator's [`Trust`] give [`Examined`]: the EK belongs
//!    here, the keys are of the right kind, the CSR is signed by the key that it is for.
//! 2. [`Examined::challenge_with`] gives the [`Challenge`]: nonce, credential for (EK, AK), PCR selection.
//! 3. [`bind`] takes both away and judges the `Proof`: [`BoundEvidence`], to which only the logs are missing.
//! 4. [`conclude`] judges the logs: [`VerifiedEvidence`].
//!
//! Everything is pure: time, nonce, secret and the connection's TLS exporter are arguments. (Making a credential takes
//! its seed from the cryptographic library.) Every refusal is a [`VerifyError`] with a stable code; what the refused
//! node may learn of it is its [`RefusalClass`].

mod bind;
pub mod boot;
mod challenge;
mod conclude;
mod ek;
mod enrolment;
mod error;
mod evidence;
mod examine;
mod fingerprint;
pub mod history;
pub mod ima;
mod keys;
mod logs;
pub mod recorded;
mod refusal;
mod statement;
#[cfg(any(test, feature = "software-machine"))]
pub mod testing;
mod trust;

pub use bind::{BoundEvidence, bind};
pub use challenge::{CHALLENGE_LIFETIME, Challenge, ChallengeError};
pub use conclude::{HeldLogs, conclude};
pub use ek::{CertificateFacts, EkCertificateError, MAX_CERTIFICATE_BYTES, MAX_INTERMEDIATES, TpmAttributes, TpmClass};
pub use enrolment::{EnrolledBy, EnrolmentError, is_revoked, revoked_certificate};
pub use error::VerifyError;
pub use evidence::{ProvenLogs, VerifiedEvidence};
pub use examine::{Examined, ek_sha256, examine};
pub use hallmark_der::DerFault;
pub use keys::{CsrError, KeyError, KeyFault, KeyRole, MAX_CSR_BYTES};
pub use logs::LogsError;
pub use refusal::RefusalClass;
pub use statement::{StatementError, StatementFault, StatementKind};
pub use trust::{
    EkKey, EkRoots, EkTemplates, ExpiredPolicy, Inventory, InventoryItem, InventoryMatch, KnownTpm, Revocation, Trust,
    TrustError,
};
