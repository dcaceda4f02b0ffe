//! The attacks against a running server, over the real wire: what the node hears, and what the record says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::type_complexity,
    reason = "a test that cannot go on has failed"
)]

mod certificate;
mod clones;
mod crowd;
mod endorsement;
mod history;
mod host;
mod identity;
mod inventory;
mod key;
mod lifecycle;
mod linked;
mod machines;
mod malformed;
mod meanwhile;
mod measured;
mod omissions;
mod policy;
mod prepared;
mod proxy;
mod quote;
mod revocation;
mod rights;
mod scene;
mod session;
mod standing;
mod withheld;
