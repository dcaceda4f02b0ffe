//! The port [`Store`] and its SQLite adapter.
//!
//! A write is a [`Transaction`](hallmark_state::Transaction) that becomes durable as a whole or not at all, as the next
//! record of the journal; [`Store::commit`] answers after the flush. Many callers' transactions share one flush. Reads never
//! wait for writers, and nothing here runs on an async worker.
#![deny(missing_docs)]

mod error;
mod port;
mod sqlite;

pub use error::{INTERRUPTED, NODE_ROW_DAMAGED, StoreError};
pub use port::{Follower, Statistics, Store};
pub use sqlite::{OlderStore, SqliteOptions, SqliteStore, VerifiedJournal};
