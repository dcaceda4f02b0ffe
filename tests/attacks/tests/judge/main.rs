//! The attacks on logs and rules, judged in one place: a machine that measured one thing and says another, from its claim
//! to the verdict of the policies. The logs are those of recorded boots, and ways to spoil them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and one that is skipped says so"
)]

mod authorities;
mod boot;
mod events;
mod field;
mod foreign;
mod forms;
mod hidden;
mod ima;
mod kernel;
#[path = "../../../../proto/evidence/tests/ima/writer.rs"]
#[allow(dead_code, reason = "not every form of line is needed here")]
mod lines;
mod offline;
mod phases;
mod policy;
mod scene;
#[path = "../../../../proto/evidence/tests/tcg/writer.rs"]
#[allow(dead_code, reason = "not every form of log is needed here")]
mod writer;
