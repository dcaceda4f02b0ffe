//! The adapter against real SoftHSM tokens. SoftHSM reads its configuration from the environment of the process,
//! so each test runs in a child process with a folder of its own.

mod keys;
mod lab;
mod load;
mod recovery;
mod refusals;
