//! The rows of the SPIFFE conformance table that this room can show, by their ids.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may stop where something is not as it built it"
)]

mod bundle;
mod chain;
mod hostile;
mod ids;
mod jwt;
mod pki;
mod profile;
mod selectors;
