//! What the kernel measured while a machine ran, and the rules over it.

mod file;
mod import;
mod judge;
mod list;
mod list_error;
mod offence;
mod summary;

pub use file::{LineKind, LineRef, MeasuredFile, Signed};
pub use list::DigestList;
pub use list_error::DigestListError;
pub use summary::{ImaSummary, Looked};

pub(crate) use import::entry;
pub(crate) use judge::{LineRules, judge};
pub(crate) use list::as_measured;
