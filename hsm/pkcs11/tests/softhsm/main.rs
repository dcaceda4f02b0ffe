//! The adapter against real SoftHSM tokens. SoftHSM reads its configuration from the environment of the process,
//! so each test runs in a child process with a folder of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod faults;
mod hangs;
mod keys;
mod lab;
mod load;
mod recovery;
mod refusals;
mod verifying;
