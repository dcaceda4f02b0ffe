//! A node that does not keep to the rules: the wire side of the attack tests, of the demo's refusals and of
//! the attestation bench. It speaks the real protocol to a real server and sends whatever it is told.

mod forgery;
mod identity;
mod machine;
mod tls;
mod wire;

pub use forgery::software_keys_under;
pub use identity::SoftwareIdentity;
pub use machine::{attest, attest_with, challenge_parts, claim_message, open, proof_message};
pub use tls::anonymous_client;
pub use wire::{Attempt, Wire, tcp_from};
