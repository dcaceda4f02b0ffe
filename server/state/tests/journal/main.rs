//! The journal: its encoding, what decisions rest on, and which changes of others make them be made again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where something is not as it built it"
)]

mod between;
mod conflicts;
mod downstream;
mod encoding;
mod ids;
mod jwt_key;
mod node_load;
mod provision;
mod provision_encoding;
mod samples;
mod tail;
mod upstream;
mod verdicts;
mod view;
mod x509_authority;
