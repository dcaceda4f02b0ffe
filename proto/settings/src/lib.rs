//! Settings files: TOML, read strictly, for the server, the agent and policies alike. An unknown key, a wrong type or a value out
//! of range is refused with its line and its key; durations, paths, addresses and references to secrets have one form and one error
//! sentence each. The environment may set keys over a file's, and every value can be explained by the place that it comes from.
//!
//! Pure: the file's text and the variables are arguments.
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

mod duration;
mod environment;
mod error;
mod explain;
mod form;
mod list;
mod secret;
pub mod value;

pub use duration::{InvalidDuration, parse_duration};
pub use environment::Overrides;
pub use error::SettingsError;
pub use explain::{Origin, Setting, explain, reference};
pub use form::Form;
pub use list::{List, ListOrWord, table};
pub use secret::{NotAReference, SecretReference};
