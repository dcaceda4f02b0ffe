//! What keeps a server from starting: each fault with the whole of its coded message and its exit code, then the same
//! server without it, which has lost nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod configuration;
mod disk;
mod disk_full;
mod kept;
mod key;
mod listeners;
mod store;
mod token;
#[path = "../trial/mod.rs"]
mod trial;
