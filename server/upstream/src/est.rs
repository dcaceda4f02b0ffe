//! EST, Enrollment over Secure Transport (RFC 7030, RFC 8951): enterprise authorities that are not Vault.

mod certs_only;
mod config;
mod upstream;

pub use certs_only::certs_only;
pub use config::{EstConfig, EstOperation};
pub use upstream::EstUpstream;
