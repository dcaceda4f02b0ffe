//! The server as a whole: started on SQLite and SoftHSM, called over TLS and over the admin socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod admin_socket;
mod attestation;
mod client;
mod clock;
mod connections;
mod downstream;
mod expiry;
mod killed;
mod lab;
mod lifecycle;
mod missing;
mod node_pages;
mod oidc;
mod races;
mod rehearsal;
mod roles;
mod selftest;
mod signed;
mod start;
mod unreadable;
