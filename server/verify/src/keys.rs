//! The three keys of a claim, judged by their public areas, and the CSR that one of them signed.
//!
//! A public area is a claim until something in the TPM vouches for it: for the EK the vendor's certificate or the
//! operator's inventory, for the AK the activated credential, for the SVID key a certification by the AK. What is judged
//! here is whether the claim, if true, is good enough.

mod csr;
mod error;
mod template;

pub use csr::MAX_CSR_BYTES;
pub use error::{CsrError, KeyError, KeyFault, KeyRole};

pub(crate) use csr::verify as verify_csr;
pub(crate) use template::{require_agents_ak, require_ak, require_ek, require_svid_key};
