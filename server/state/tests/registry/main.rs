//! Entries and their rules, who may serve them, and grants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where something is not as it built it"
)]

mod authorised;
mod drafts;
mod grants;
mod inventory;
mod lifecycle;
mod links;
mod listing;
mod nodes;
mod roles;
mod samples;
