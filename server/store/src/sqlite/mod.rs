//! The SQLite adapter: one file, one writer thread, a few readers.

mod apply;
mod assignment_row;
mod authority_row;
mod backup;
mod ek_certificate_row;
mod entry_row;
mod evidence_row;
mod exclusive;
mod files;
mod fold;
mod interrupted;
mod inventory_row;
mod journal_row;
mod json;
mod link_row;
mod load;
mod log;
mod look;
mod mark;
mod migrations;
mod node_row;
mod older;
mod older_records;
mod open;
mod options;
mod queue;
mod readers;
mod record_page;
mod record_query;
mod role_svid_row;
mod rollback;
mod shared;
mod tables;
mod time_runs;
mod unread;
mod verify;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{
    Committed, EkCertificate, NodeEvidence, NodeFacts, Record, RecordQuery, RoleSvid, Snapshot, StoredRecord, Total,
    Transaction, WholeLog,
};
use rusqlite::Connection;

pub use older::OlderStore;
pub use options::SqliteOptions;
pub use verify::VerifiedJournal;

use self::{
    exclusive::Exclusive,
    journal_row::Head,
    log::Log,
    look::Look,
    mark::{Mark, MarkFile},
    readers::Readers,
    rollback::Acceptance,
    writer::Writer,
};
use crate::{Follower, Statistics, Store, StoreError};

/// A store in one SQLite file, for the exclusive use of one server.
///
/// Dropping it waits until everything queued is durable.
pub struct SqliteStore {
    // Dropped in this order: the lock is given up when nobody uses the file any more.
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    trust_domain: TrustDomain,
    interrupted: u64,
    rollback: Option<StoreError>,
    totals: Vec<Total>,
    _exclusive: Exclusive,
}

impl SqliteStore {
    /// Opens or creates the store. Blocks; may take as long as the busy timeout.
    ///
    /// # Errors
    /// When the file cannot be opened, written or read; belongs to another trust domain, another program or a newer
    /// version; or another server has it open.
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        // Before a file is made where there is none: a log without its file has all that there is.
        open::require_content(options.path())?;
        let options = &options.resolved()?;
        open::require_content(options.path())?;
        let exclusive = Exclusive::acquire(options.path())?;
        let mut mark = MarkFile::read(options.path())?;
        let foreign_log = accepted(options, mark.require_own_log())?;
        let mut connection = open::writable(options)?;
        let schema = migrations::recognise(options.path(), &connection)?;
        if schema > 0 {
            // Another trust domain's store stays as it is.
            open::pin_trust_domain(options, &mut connection)?;
        }
        let rolled_back = accepted(options, mark.require_in(&connection, schema))?;
        // From here on the log may be folded into the file.
        Log::leave(&connection, false).map_err(|e| StoreError::from_sqlite(options.path(), &e))?;
        if let Some(last) = mark.last().cloned().filter(|last| last.stamp.is_some()) {
            mark.write(Mark { stamp: None, ..last }, true)?;
        }
        open::configure(options, &connection)?;
        migrations::migrate(options.path(), &mut connection)?;
        open::pin_trust_domain(options, &mut connection)?;
        let mut head = Head::open_at(options.path(), &connection)?;
        let interrupted = interrupted::settle(options.path(), &mut connection, &mut head)?;
        let refusal = rolled_back.or(foreign_log);
        if let (Some(acceptance), Some(refusal)) = (options.acceptance(), &refusal) {
            acceptance.record(
                options.path(),
                options.trust_domain(),
                &mut connection,
                &mut head,
                refusal,
            )?;
        }
        mark_first(options.path(), &connection, &head, &mut mark)?;
        Ok(Self {
            readers: Readers::start(options)?,
            totals: head.totals(),
            writer: Writer::start(options.path(), connection, head, mark)?,
            path: options.path().to_path_buf(),
            trust_domain: options.trust_domain().clone(),
            interrupted,
            rollback: refusal,
            _exclusive: exclusive,
        })
    }

    /// What an operator accepted when the store was opened
    /// ([`SqliteOptions::accept_rollback`]); `None` where there was nothing to accept.
    #[must_use]
    pub const fn rollback(&self) -> Option<&StoreError> {
        self.rollback.as_ref()
    }

    /// Checks the whole journal of a store, and that the tables of the state are what it says, whether a server has the store
    /// open or not. Changes nothing. `None` where the store
    /// has an older schema, which the next start brings up to date. Blocks; the time grows with the journal.
    ///
    /// # Errors
    /// When the store cannot be read or is not this program's, or the journal is not what was written
    /// ([`StoreError::Corrupt`], with the row).
    pub fn verify(options: &SqliteOptions) -> Result<Option<VerifiedJournal>, StoreError> {
        let look = Look::open(options)?;
        let connection = look.connection()?;
        // The mark is beside the file itself, whatever links lead to it.
        let mark = MarkFile::read(look.path())?;
        let schema = migrations::recognise(options.path(), connection)?;
        if schema == 0 {
            let reason = "it has no table".to_owned();
            return Err(StoreError::Corrupt {
                path: options.path().into(),
                reason,
            });
        }
        let is_pinned = open::require_trust_domain(options, connection)?;
        // A server's own log is its own; between two writes its mark may say otherwise.
        if look.is_alone() {
            mark.require_own_log()?;
        }
        if schema < migrations::newest() {
            return Ok(None);
        }
        // One view of the file, however long it takes.
        let at = |e: rusqlite::Error| StoreError::from_sqlite(options.path(), &e);
        let view = connection.unchecked_transaction().map_err(at)?;
        mark.require_in(&view, migrations::newest())?;
        let mut verified = verify::verify(options.path(), &view, options.trust_domain())?;
        if !is_pinned {
            let how = format!("expected {}, found no row", options.trust_domain());
            verified.apart(unread::row_of("meta", "trust_domain"), 0, how);
        }
        Ok(Some(verified))
    }

    /// What a store of an older schema says of the authority; `None` where there is none, or where it is of the present schema.
    /// Changes nothing: a start that the authority refuses can leave the store as it is. Blocks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn older(options: &SqliteOptions) -> Result<Option<OlderStore>, StoreError> {
        older::read(options)
    }

    /// Copies a store, whether a server has it open or not, into the new file `to`: in one read, however much is written
    /// meanwhile. The copy is one file that only its owner can read, it is flushed, and it was looked at as by
    /// [`verify`](Self::verify): what that found is the answer. Blocks; the time grows with the store.
    ///
    /// # Errors
    /// When `to` is there already or cannot be written; as [`verify`](Self::verify). Then there is no copy.
    pub fn backup(options: &SqliteOptions, to: &Path) -> Result<Option<VerifiedJournal>, StoreError> {
        backup::backup(options, to)
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What was found and is accepted; anything else that was refused stays refused.
fn accepted(options: &SqliteOptions, found: Result<(), StoreError>) -> Result<Option<StoreError>, StoreError> {
    match found {
        Err(error) if options.acceptance().is_some() && Acceptance::is_of(&error) => Ok(Some(error)),
        other => other.map(|()| None),
    }
}

/// Writes the mark as the store is now, flushed. A store without an incarnation gets one, after its mark: should the program end
/// between the two, the mark is one that the journal has.
fn mark_first(path: &Path, connection: &Connection, head: &Head, mark: &mut MarkFile) -> Result<(), StoreError> {
    let stored = mark::stored_incarnation(path, connection)?;
    let incarnation = stored.map_or_else(mark::incarnation, Ok)?;
    if let Err(e) = Log::fold(connection) {
        tracing::warn!(error = %e, "the write-ahead log was not folded into the store's file");
    }
    let now = Mark {
        incarnation,
        revision: head.revision,
        chain: head.chain()?,
        stamp: None,
    };
    mark.write(now, true)?;
    if stored.is_none() {
        mark::put_incarnation(path, connection, incarnation)?;
    }
    Ok(())
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        Box::pin(async move {
            let (path, trust_domain) = (self.path.clone(), self.trust_domain.clone());
            let loaded = self
                .readers
                .read(move |connection| load::load(&path, &trust_domain, connection))
                .await?;
            Ok(Snapshot {
                interrupted: self.interrupted,
                totals: self.totals.clone(),
                ..loaded
            })
        })
    }

    fn follow(&self, follower: Arc<dyn Follower>) {
        self.writer.follow(follower);
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(self.writer.commit(transaction))
    }

    fn commit_later(&self, transaction: Transaction) {
        self.writer.commit_later(transaction);
    }

    fn records(&self, query: RecordQuery) -> BoxFuture<'_, Result<Vec<StoredRecord>, StoreError>> {
        let path = self.path.clone();
        Box::pin(
            self.readers
                .read(move |connection| record_query::records(&path, connection, &query)),
        )
    }

    fn records_after(&self, revision: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let path = self.path.clone();
        Box::pin(
            self.readers
                .read(move |connection| record_page::after(&path, connection, revision, limit)),
        )
    }

    fn role_svid(&self, serial: u128) -> BoxFuture<'_, Result<Option<RoleSvid>, StoreError>> {
        let path = self.path.clone();
        Box::pin(
            self.readers
                .read(move |connection| role_svid_row::find(&path, connection, serial)),
        )
    }

    fn evidence(&self, node: &SpiffeId) -> BoxFuture<'_, Result<Option<NodeEvidence>, StoreError>> {
        let (path, node) = (self.path.clone(), node.clone());
        Box::pin(
            self.readers
                .read(move |connection| evidence_row::find(&path, connection, &node)),
        )
    }

    fn logs(&self, node: &SpiffeId, kinds: &[u8]) -> BoxFuture<'_, Result<Vec<WholeLog>, StoreError>> {
        let (path, node, kinds) = (self.path.clone(), node.clone(), kinds.to_vec());
        Box::pin(
            self.readers
                .read(move |connection| evidence_row::logs(&path, connection, &node, &kinds)),
        )
    }

    fn facts(&self, after: Option<&SpiffeId>, limit: u32) -> BoxFuture<'_, Result<Vec<NodeFacts>, StoreError>> {
        let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        let path = self.path.clone();
        Box::pin(
            self.readers
                .read(move |connection| evidence_row::facts(&path, connection, &after, limit)),
        )
    }

    fn facts_of(&self, nodes: Vec<SpiffeId>) -> BoxFuture<'_, Result<Vec<NodeFacts>, StoreError>> {
        let path = self.path.clone();
        Box::pin(
            self.readers
                .read(move |connection| evidence_row::facts_of(&path, connection, &nodes)),
        )
    }

    fn ek_certificate(&self, ek_sha256: &[u8; 32]) -> BoxFuture<'_, Result<Option<EkCertificate>, StoreError>> {
        let (path, ek) = (self.path.clone(), *ek_sha256);
        Box::pin(
            self.readers
                .read(move |connection| ek_certificate_row::find(&path, connection, &ek)),
        )
    }

    fn ek_certificates(
        &self,
        after: Option<&[u8; 32]>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<EkCertificate>, StoreError>> {
        let (path, after) = (self.path.clone(), after.copied());
        Box::pin(
            self.readers
                .read(move |connection| ek_certificate_row::page(&path, connection, after.as_ref(), limit)),
        )
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.check())
    }

    fn statistics(&self) -> Statistics {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        Statistics {
            file_bytes: bytes(&self.path),
            log_bytes: bytes(&files::log_of(&self.path)),
            ..self.writer.statistics()
        }
    }
}
