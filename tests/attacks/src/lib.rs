//! A node that does not keep to the rules: the wire side of the attack tests, of the demo's refusals and of
//! the attestation bench. It speaks the real protocol to a real server and sends whatever it is told.

mod tls;
mod wire;

pub use wire::{Attempt, Wire};
