//! What the kernel measured while the machine ran, as far as a quote proves it.
//!
//! The list is read before the quote is taken, or goes on growing behind it: some prefix of it must give the quoted
//! PCR 10. Only that prefix is proven; what stands behind it is not looked at.

mod aggregate;
mod error;
mod evm;
mod keys;
mod prove;
mod signature;

pub use aggregate::BootAggregate;
pub use error::ImaListError;
pub use keys::{ImaKey, ImaKeyError, ImaKeys, SignatureVerdict};
pub use prove::{MeasuredFiles, measured_files};
pub use signature::{FileSignature, SignatureFault, file_signature};
