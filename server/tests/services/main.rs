//! The services on real parts: SQLite, and an authority whose key is in a SoftHSM token. Requests are handed to
//! the services with the caller already known; who may call what is tested elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod agents;
mod authorised;
mod bundle;
mod cost;
mod entries;
mod jwt;
mod lab;
mod listing;
mod probe;
mod records;
mod svids;
mod upstream;
mod x509;
