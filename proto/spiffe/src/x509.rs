//! The X509-SVID profile, and path validation against the authorities of one trust domain.
//!
//! Two questions are kept apart. *Does this certificate have the right shape?* is answered by
//! [`leaf_id`] and [`check_signing`], which look at one certificate and prove nothing about who
//! signed it. *Is this chain to be believed, now, for this trust domain?* is answered by
//! [`Authorities::verify`] and [`verify_chain`].

mod certificate;
mod chain;
mod chain_error;
mod profile;
mod profile_error;
mod request;
mod serial;
mod signing;

pub use certificate::MAX_CERTIFICATE_LEN;
pub use chain::{Authorities, MAX_CHAIN, VerifiedLeaf, verify_chain};
pub use chain_error::ChainError;
pub use profile::{check_authority, check_signing, leaf_id, lint_leaf, lint_signing};
pub use profile_error::ProfileError;
pub use request::{MAX_REQUEST_LEN, RequestError, RequestedNames};
pub use serial::SerialHex;
pub use signing::SigningFacts;
