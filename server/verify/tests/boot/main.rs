//! Boot logs held against quoted registers: real boots, and the attacks on logs.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod attacks;
mod boots;
#[path = "../../../../proto/evidence/tests/tcg/writer.rs"]
mod writer;
