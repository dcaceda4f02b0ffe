//! The command as a shell meets it: the real program against the services on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where something is not as it built it"
)]

mod admin;
mod contract;
mod entries;
mod evidence;
mod fake;
mod inventory;
mod nodes;
mod refusals;
mod run;
