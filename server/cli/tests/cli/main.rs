//! The command as a shell meets it: the real program against the services on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may stop where something is not as it built it, and says what it skips"
)]

mod admin;
mod authorities;
mod boot_reports;
mod contract;
mod declared;
mod entries;
mod evidence;
mod fake;
mod image_baselines;
mod inventory;
mod minted;
mod nodes;
mod policies;
mod predict;
mod provision;
mod refusals;
mod reports;
mod run;
mod signed;
mod trials;
mod unproven;
mod user_space;
