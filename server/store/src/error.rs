//! What can go wrong with the store.

use std::path::{Path, PathBuf};

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Key, StoredRecord, Undecodable};

/// The code of an SVID outcome that nobody recorded, because the server stopped between intent and signature.
pub const INTERRUPTED: ReasonCode = ReasonCode::new("HM-STORE-0016");

/// The code of a node whose row does not read back: it counts as banned.
pub const NODE_ROW_DAMAGED: ReasonCode = ReasonCode::new("HM-STORE-0039");

/// A failure of the store. Cloneable, as one failed flush fails every caller that shared it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file or its folder cannot be written.
    #[error("the store {} is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// No room: the disk, or the size limit of the store, is exhausted.
    #[error("no space left to write the store {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file of a backup is there already.
    #[error("the file {} is there already", path.display())]
    BackupExists {
        /// The file.
        path: PathBuf,
    },
    /// Another program holds the database's lock.
    #[error("the store {} is locked by another program", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Another server has the store open.
    #[error("another hallmark-server uses the store {}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed or replaced while the store is open.
    #[error("the store {} is no longer the file that was opened", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The write-ahead log was removed or replaced while the store is open.
    #[error("the write-ahead log of the store {} is no longer the file that was opened", path.display())]
    LogGone {
        /// The store's file; its log has the same name and `-wal`.
        path: PathBuf,
    },
    /// The disk failed while a group of changes was flushed: they may be on it or not.
    #[error("it is not known whether this change was kept: the disk failed while the store {} was flushed", path.display())]
    Unflushed {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// Another program wrote to the file while the store is open.
    #[error("another program wrote to the store {}", path.display())]
    OtherWriter {
        /// The file.
        path: PathBuf,
        /// How that shows.
        how: String,
    },
    /// The journal does not have the record that the mark beside the store says.
    #[error("the journal of the store {} does not have all that was recorded", path.display())]
    RolledBack {
        /// The file.
        path: PathBuf,
        /// The last record, by the mark.
        marked: String,
        /// What the journal has.
        found: String,
    },
    /// The mark beside the store is missing or not readable.
    #[error("the mark {} is missing or not readable", path.display())]
    MarkMissing {
        /// The file of the mark.
        path: PathBuf,
        /// Where the journal ends.
        ends: String,
    },
    /// The mark beside the store was removed or replaced while the store is open.
    #[error("the mark beside the store {} was removed or replaced while the server ran; the server wrote it anew", path.display())]
    MarkGone {
        /// The store's file; its mark has the same name and `.mark`.
        path: PathBuf,
    },
    /// The write-ahead log beside the store belongs to another file.
    #[error("the write-ahead log beside the store {} is not of this file", path.display())]
    StaleLog {
        /// The file.
        path: PathBuf,
        /// The file that is there.
        found: String,
        /// What the log belongs to.
        known: String,
    },
    /// The file has several names: hard links.
    #[error("the store {} has several names", path.display())]
    Linked {
        /// The file.
        path: PathBuf,
        /// How many.
        names: u64,
    },
    /// The file is damaged.
    #[error("the store {} is damaged", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The file is a SQLite database of some other program, or no database.
    #[error("{} is not a Hallmark store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of Hallmark wrote the file.
    #[error("the store {} was written by a newer version", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The store belongs to another trust domain.
    #[error("the store {} belongs to another trust domain", path.display())]
    OtherTrustDomain {
        /// The file.
        path: PathBuf,
        /// The trust domain it was made for.
        stored: String,
        /// The one configured.
        configured: TrustDomain,
    },
    /// Reading or writing failed in some other way.
    #[error("the store {} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A row does not read back as what was written.
    #[error("what is stored as {what} does not read back")]
    Undecodable {
        /// What kind of row, and which.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of the journal does not read back, while its events are read.
    #[error("row {row} of the journal does not read back: its events cannot be told")]
    JournalRow {
        /// The row: the number of its last record.
        row: u64,
        /// The first event of the row, as the row says.
        first: u64,
        /// The last one.
        last: u64,
        /// What is wrong with it.
        reason: String,
        /// The events that were asked for and come before it, in the order in which they were asked for.
        before: Vec<StoredRecord>,
    },
    /// A row is not what the journal says.
    #[error("{what} is not what the journal says")]
    Apart {
        /// The row, or a part of it, and its table.
        what: String,
        /// The record that says otherwise; 0 where none says anything of it.
        revision: u64,
        /// Both values.
        how: String,
    },
    /// What should be added is there already.
    #[error("{what} is already in the store")]
    Exists {
        /// What kind of thing, and its id.
        what: String,
    },
    /// What should be changed or removed is not there.
    #[error("{what} is not in the store")]
    Missing {
        /// What kind of thing, and its id.
        what: String,
    },
    /// The bundle's sequence number would not rise.
    #[error("the bundle's sequence number would not rise")]
    SequenceNotRising {
        /// The stored one.
        stored: u64,
        /// The one to be written.
        new: u64,
    },
    /// Something that the decision rested on has changed since.
    #[error("the state has changed since the decision")]
    Conflict {
        /// What has changed.
        key: Key,
    },
    /// The transaction is in the journal already.
    #[error("the transaction is in the journal already")]
    AlreadyCommitted {
        /// Its id.
        id: [u8; 16],
        /// The record that it became.
        revision: u64,
    },
    /// Records that are asked for are not whole in the journal: a version of the program before wrote them, or they were cut.
    #[error("the journal does not have the changes of all records that are asked for")]
    Cut {
        /// The records after this one were asked for.
        after: u64,
        /// Those after this one are whole.
        begins: u64,
    },
    /// A change of a kind that this store does not keep.
    #[error("the store does not keep changes of this kind: {what}")]
    Unknown {
        /// The change.
        what: String,
    },
    /// The journal's numbers have a hole, or went back, behind this server's state.
    #[error("the server's state no longer follows the journal")]
    Hole {
        /// The record that was to come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Another server put rules or trust in force that this one does not have.
    #[error("the {what} in force are not this server's")]
    OtherServers {
        /// Rules or trust.
        what: &'static str,
    },
    /// The system has no random bytes to give.
    #[error("no random bytes for the id of a transaction")]
    Random,
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The error for what SQLite said about the file at `path`.
    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let path = path.to_path_buf();
        let reason = error.to_string();
        // SQLite has no word of its own for a shared-memory file that cannot grow: it is on the same full disk.
        if error.sqlite_error().map(|e| e.extended_code) == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::Full { path };
        }
        if let Some(reason) = damage(error) {
            let what = format!("a row of {}", path.display());
            return Self::Undecodable { what, reason };
        }
        match error.sqlite_error_code() {
            // Rows of the journal are added by their number, which only the writer gives.
            Some(C::ConstraintViolation) if reason.contains("journal.revision") => {
                Self::OtherWriter { path, how: reason }
            }
            Some(C::ReadOnly | C::PermissionDenied) => Self::ReadOnly { path },
            Some(C::DiskFull) => Self::Full { path },
            Some(C::DatabaseBusy | C::DatabaseLocked) => Self::Locked { path },
            Some(C::DatabaseCorrupt) => Self::Corrupt { path, reason },
            Some(C::NotADatabase) => Self::Foreign { path },
            Some(C::CannotOpen) => Self::Open { path, reason },
            _ => Self::Io { path, reason },
        }
    }

    /// Whether one caller's change was refused, as opposed to the medium failing for all.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Exists { .. }
                | Self::Missing { .. }
                | Self::SequenceNotRising { .. }
                | Self::Conflict { .. }
                | Self::AlreadyCommitted { .. }
        )
    }
}

impl From<Undecodable> for StoreError {
    fn from(error: Undecodable) -> Self {
        Self::Undecodable {
            what: format!("row {} of the table evidence", error.node),
            reason: error.reason,
        }
    }
}

impl Coded for StoreError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Open { .. } => ReasonCode::new("HM-STORE-0001"),
            Self::ReadOnly { .. } => ReasonCode::new("HM-STORE-0002"),
            Self::Full { .. } => ReasonCode::new("HM-STORE-0003"),
            Self::Locked { .. } => ReasonCode::new("HM-STORE-0004"),
            Self::InUse { .. } => ReasonCode::new("HM-STORE-0005"),
            Self::Corrupt { .. } => ReasonCode::new("HM-STORE-0006"),
            Self::Foreign { .. } => ReasonCode::new("HM-STORE-0007"),
            Self::NewerSchema { .. } => ReasonCode::new("HM-STORE-0008"),
            Self::OtherTrustDomain { .. } => ReasonCode::new("HM-STORE-0009"),
            Self::Io { .. } => ReasonCode::new("HM-STORE-0010"),
            Self::Undecodable { .. } => ReasonCode::new("HM-STORE-0011"),
            Self::JournalRow { .. } => ReasonCode::new("HM-STORE-0035"),
            Self::Apart { .. } => ReasonCode::new("HM-STORE-0036"),
            Self::BackupExists { .. } => ReasonCode::new("HM-STORE-0037"),
            Self::Exists { .. } => ReasonCode::new("HM-STORE-0012"),
            Self::Missing { .. } => ReasonCode::new("HM-STORE-0013"),
            Self::SequenceNotRising { .. } => ReasonCode::new("HM-STORE-0014"),
            Self::Closed => ReasonCode::new("HM-STORE-0015"),
            Self::Gone { .. } => ReasonCode::new("HM-STORE-0017"),
            Self::Linked { .. } => ReasonCode::new("HM-STORE-0028"),
            Self::RolledBack { .. } => ReasonCode::new("HM-STORE-0029"),
            Self::MarkMissing { .. } => ReasonCode::new("HM-STORE-0030"),
            Self::MarkGone { .. } => ReasonCode::new("HM-STORE-0038"),
            Self::StaleLog { .. } => ReasonCode::new("HM-STORE-0034"),
            Self::LogGone { .. } => ReasonCode::new("HM-STORE-0031"),
            Self::OtherWriter { .. } => ReasonCode::new("HM-STORE-0032"),
            Self::Unflushed { .. } => ReasonCode::new("HM-STORE-0033"),
            Self::Conflict { .. } => ReasonCode::new("HM-STORE-0018"),
            Self::Unknown { .. } => ReasonCode::new("HM-STORE-0019"),
            Self::Random => ReasonCode::new("HM-STORE-0020"),
            Self::Hole { .. } => ReasonCode::new("HM-STORE-0021"),
            Self::OtherServers { .. } => ReasonCode::new("HM-STORE-0024"),
            Self::Cut { .. } => ReasonCode::new("HM-STORE-0023"),
            Self::AlreadyCommitted { .. } => ReasonCode::new("HM-STORE-0022"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NewerSchema { found, known, .. } => {
                Some(format!("schema version {found}, this program knows up to {known}"))
            }
            Self::OtherTrustDomain { stored, configured, .. } => {
                Some(format!("store of {stored}, configured {configured}"))
            }
            Self::Hole { expected, found } => Some(format!("expected record {expected}, got {found}")),
            Self::Conflict { key } => Some(format!("changed: {key:?}")),
            Self::Cut { after, begins } => Some(format!("asked for after {after}, whole after {begins}")),
            Self::AlreadyCommitted { id, revision } => Some(format!(
                "transaction {:032x}, record {revision}",
                u128::from_be_bytes(*id)
            )),
            Self::SequenceNotRising { stored, new } => Some(format!("stored {stored}, new {new}")),
            Self::RolledBack { marked, found, .. } => Some(format!("the mark says {marked}; the journal {found}")),
            Self::MarkMissing { ends, .. } => Some(format!("no mark; the journal ends with {ends}")),
            Self::StaleLog { found, known, .. } => Some(format!("the file is {found}; {known}")),
            Self::Linked { names, .. } => Some(format!("{names} names, one is allowed")),
            Self::OtherWriter { how, .. } | Self::Apart { how, revision: 0, .. } => Some(how.clone()),
            Self::Apart { how, revision, .. } => Some(format!("record {revision}: {how}")),
            Self::Open { reason, .. }
            | Self::Corrupt { reason, .. }
            | Self::Io { reason, .. }
            | Self::Unflushed { reason, .. }
            | Self::Undecodable { reason, .. }
            | Self::JournalRow { reason, .. } => Some(reason.clone()),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Open { path, .. } | Self::ReadOnly { path } => {
                format!("ls -ld {} and give the server's user write access", parent(path))
            }
            Self::Full { path } => {
                format!(
                    "df {}; free some space there: a running server goes on by itself, a stopped one is started again",
                    disk(path)
                )
            }
            Self::BackupExists { path } => format!("name another file, or move {} away", path.display()),
            Self::Locked { path } => format!("fuser {}; end the program that holds it", path.display()),
            Self::InUse { path } => format!("fuser {}; stop the server, or one of the two", path.display()),
            Self::Linked { path, .. } => format!(
                "find / -xdev -samefile {0}; remove the other names, or copy {0} and use the copy",
                path.display()
            ),
            Self::OtherWriter { path, .. } => format!(
                "fuser {}; end the other program, stop the server, and restore a backup (docs/how-to/runbook.md)",
                path.display()
            ),
            Self::JournalRow { first, last, .. } => format!(
                "hallmark record export --after {last} gives what comes behind it, hallmark record list --before {first} what \
                 comes before it; restore a backup that reads (docs/how-to/runbook.md)"
            ),
            Self::Io { path, .. } => format!("look for errors of the disk below {} in the kernel log", parent(path)),
            _ => return None,
        })
    }
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Where there is no room: the folder of a file; of a folder, itself, which may be another disk than its parent.
fn disk(path: &Path) -> String {
    if path.is_dir() {
        return path.display().to_string();
    }
    parent(path)
}

/// What is wrong with a value that was read and is not of the form that was written; `None` where it was not read at all.
pub(crate) fn damage(error: &rusqlite::Error) -> Option<String> {
    use rusqlite::Error as E;
    match error {
        E::FromSqlConversionFailure(_, _, cause) => Some(cause.to_string()),
        E::IntegralValueOutOfRange(_, value) => Some(format!("the number {value} is out of range")),
        E::Utf8Error(_, cause) => Some(cause.to_string()),
        E::InvalidColumnType(_, _, found) => Some(format!("it is of the type {found}")),
        _ => None,
    }
}
