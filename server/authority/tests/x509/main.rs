//! What the authority issues and accepts, seen by other programs.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod cost;
mod csr;
mod profile;
mod software;
mod upstream;
