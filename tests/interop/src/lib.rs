//! Real SPIFFE clients against the agent and the server.
//!
//! The clients are the Rust crate `spiffe`, the Python package `spiffe` and go-spiffe; `tests/interop/setup` makes the
//! last two. They speak to a [`WorkloadAgent`]: the agent's own Workload API over a real socket, whose cache the test
//! fills with certificates of its own authority, so that it can rotate and take away whatever it wants.

mod agent;
mod authority;
mod program;

pub use agent::WorkloadAgent;
pub use authority::Authority;
pub use program::{Program, go, python};
