//! The port [`Store`] and its SQLite adapter.
//!
//! A write is a list of [`Change`]s that becomes durable as a whole or not at all; [`Store::commit`] answers
//! after the flush. Many callers' lists share one flush. Reads never wait for writers, and nothing here runs on
//! an async worker.
#![deny(missing_docs)]

mod agent;
mod authority;
mod change;
mod ek_certificate;
mod error;
mod evidence;
mod policy_file;
mod port;
mod record;
mod sqlite;
mod tpm_name;

pub use agent::{Agent, NodeSvid};
pub use authority::{Authority, AuthorityState};
pub use change::Change;
pub use ek_certificate::EkCertificate;
pub use error::{INTERRUPTED, StoreError};
pub use evidence::{HeldEvidence, LINES, LogPart, NewEvidence, NodeEvidence, NodeFacts, WholeLog};
pub use policy_file::PolicyFile;
pub use port::{Committed, Loaded, Statistics, Store};
pub use record::{
    Outcome, Record, RecordFilter, RecordKind, RecordQuery, RecordRange, RoleSvid, StoredRecord, SvidIntent,
    SvidIntents, SvidOutcome, Total,
};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use tpm_name::TpmName;
