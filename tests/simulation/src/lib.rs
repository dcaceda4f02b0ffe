//! Servers, agents and operators as state machines over the real decisions and the real `State`, with a simulated store,
//! token and clock: each seed is one schedule, and after each step the laws of the journal are held against what happened.
//!
//! No framework is needed: every decision is a pure function and every actor a small state machine, so a schedule is a list of
//! steps and the run a loop. `turmoil` and `madsim` replace sockets, time and tasks of an async program, of which there is none
//! here; `stateright` searches states that it can hash and clone, and these are too large. A list of steps can also be cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test: what cannot go on has failed"
)]

mod admin;
mod broken;
mod chain;
mod invariants;
mod machine;
mod random;
mod real;
mod run;
mod schedule;
mod server;
mod store;
mod task;
mod world;

pub use broken::Broken;
pub use invariants::{Law, Violation};
pub use real::Found;
pub use run::{Failure, Setup, check_killed, run, run_on_sqlite, run_steps, shortest};
pub use schedule::{Kind, Step, schedule};
pub use world::Coverage;
