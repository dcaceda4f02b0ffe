//! IMA lists held against quotes, and signatures of files.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod attested;
mod lists;
mod signatures;
#[path = "../../../../proto/evidence/tests/ima/writer.rs"]
mod writer;
