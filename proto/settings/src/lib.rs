//! What the configurations of server and agent share. Both are TOML files over which the environment sets keys; both can be
//! explained: each value with the place that it comes from. Pure: the file's text and the variables are arguments.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on has failed"
    )
)]

mod environment;
mod explain;

pub use environment::{EnvironmentError, Fault, Overrides};
pub use explain::{Origin, Setting, explain, reference};
