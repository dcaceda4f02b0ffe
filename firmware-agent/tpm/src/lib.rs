//! The port [`Tpm`] and its tss-esapi driver.
//!
//! [`EsysTpm`] speaks to a TPM 2.0 through the TCTIs `device`, `swtpm` and `mssim`, in as few commands as the protocol
//! allows (docs/reference/tpm-commands.md); [`TpmHandle`] gives it a thread of its own.
//!
//! The driver proves nothing. It reports what the TPM says, after checking that it is well-formed; the server judges.

mod actor;
mod authorization;
mod certificate;
mod driver;
mod error;
mod port;
mod response;
mod tcti;

pub use actor::{Observer, TpmHandle};
pub use authorization::{Authorization, MAX_AUTHORIZATION};
pub use driver::EsysTpm;
pub use error::TpmError;
pub use port::{Credential, Endorsement, KeyId, Properties, Signed, SvidKey, Tpm, Unique};
pub use tcti::Tcti;
