//! The IMA list's parsers and replay: real lists, and lists that no kernel writes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod boots;
mod hostile;
mod writer;
