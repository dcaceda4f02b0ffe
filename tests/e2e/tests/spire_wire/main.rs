//! SPIRE's wire, against the real server: what its command line, controller-manager and agents rely on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agents;
mod authorities;
mod entries;
mod site;
mod svids;
mod sync;
