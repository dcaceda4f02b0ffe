//! The journal: what was decided, in the order in which it became durable.
//!
//! A decision asks for a [`Transaction`]; the store makes a [`Record`] of it, numbered without a gap, unless something that
//! the decision rested on has changed since ([`Expect`]). [`State::apply`](crate::State::apply) is the only way in which the
//! state changes.

mod change;
mod detail;
pub mod encoding;
mod event;
mod ids;
mod install_step;
mod key;
mod manifest;
mod record;
mod tail;
mod transaction;
mod verdict;

pub use change::Change;
pub use event::{EntryAct, Event, EventRange, What};
pub use ids::RecentIds;
pub use install_step::{InstallAct, InstallStep};
pub use key::Key;
pub use manifest::{Manifest, sha256};
pub use record::{Outcome, ReadableRecord, RecordFilter, RecordKind, RecordQuery, StoredRecord, Total};
pub use tail::Tail;
pub use transaction::{Committed, Expect, Record, Transaction};
pub use verdict::{AttestedFacts, EventPart, LoggedEvent, PcrFact, ReasonFact, RefusingRule};
