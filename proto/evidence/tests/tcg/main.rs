//! The firmware log's parser and replay: real boots, other projects' logs, and logs that no firmware writes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod boots;
mod foreign;
mod hostile;
mod meaning;
mod writer;
