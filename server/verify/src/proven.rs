//! The three parts of a proof. Each type says what was proven and can be made by its checks alone.
//!
//! - [`ProvenTpm`]: an EK that belongs here, and the AK that lives in its TPM.
//! - [`ProvenKey`]: an SVID key that lives in that TPM and ends with its boot (TPM2_Certify).
//! - [`ProvenState`]: what an AK's machine measured (TPM2_Quote, clock, logs). Its quote comes first ([`QuotedState`]), its logs
//!   follow.
//!
//! An attestation takes all three, of one exchange. A continuous challenge takes the third, of a TPM and a key that an
//! attestation proved ([`verify_state`](crate::verify_state())). Evidence that was kept gives the third alone
//! ([`offline`](crate::offline)).

mod key;
mod state;
mod tpm;

pub(crate) use key::ClaimedKey;
pub use key::ProvenKey;
pub(crate) use state::MeasuredLogs;
pub use state::{ProvenState, QuotedState};
pub(crate) use tpm::ClaimedTpm;
pub use tpm::ProvenTpm;
