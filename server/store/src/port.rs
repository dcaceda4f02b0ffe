//! The port.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Committed, EkCertificate, NodeEvidence, NodeFacts, Record, RecordQuery, RoleSvid, Snapshot, StoredRecord,
    Transaction, WholeLog,
};

use crate::StoreError;

/// Counters since the store was opened, and how far the journal goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions that became durable.
    pub jobs: u64,
    /// Groups of them: flushes to disk.
    pub commits: u64,
    /// Transactions that failed.
    pub failures: u64,
    /// Transactions given to [`Store::commit_later`] that failed.
    pub later_failures: u64,
    /// Transactions that wait for their turn.
    pub queued: u64,
    /// The number of the last record of the journal; 0 without one.
    pub revision: u64,
    /// The number of the last event; 0 without one. Events are never deleted.
    pub last_event: u64,
    /// How often a check found that the mark beside the store had been removed or replaced.
    pub marks_gone: u64,
    /// The bytes of the store's file.
    pub file_bytes: u64,
    /// The bytes of its write-ahead log.
    pub log_bytes: u64,
}

/// Who learns of every record: what a server answers from.
pub trait Follower: Send + Sync {
    /// These records are durable; they follow the last ones without a gap. Called before the commits that made them answer,
    /// by one thread at a time. It must not wait for the store.
    fn follow(&self, records: &[Record]);
}

/// Where the server keeps what must outlive it.
///
/// Whatever [`commit`](Self::commit) acknowledged survives a crash of the process or of the machine.
pub trait Store: Send + Sync {
    /// Reads everything that a server needs to start.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a row that does not decode.
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Has `follower` learn of every record from now on. There is one follower; a second one is not called.
    fn follow(&self, follower: Arc<dyn Follower>);

    /// Makes a transaction the next record of the journal, all of it or nothing, and answers after the flush, when the
    /// follower has learned of it.
    ///
    /// **Once.** The id of a transaction tells it from every other; one that is in the journal is not committed again,
    /// also after a restart. Its [`expect.revision`](hallmark_state::Expect::revision) has to be a record that was there when
    /// the transaction was made, also where it rests on no keys: the store looks for the id among later records.
    ///
    /// **After a lost answer** (the connection to a database broke, the server stopped) the caller does not know whether the
    /// transaction is in. It commits the same transaction, with the same id, again: [`StoreError::AlreadyCommitted`] says that
    /// it is, and as which record; any other answer is that of a transaction which was not in before. It never makes a new
    /// transaction of the decision instead. SQLite answers in the process: an answer is lost only with the server itself,
    /// or where the caller stopped waiting; then the commit goes on.
    ///
    /// # Errors
    /// [`StoreError::AlreadyCommitted`]; [`StoreError::Conflict`] when something that the decision rested on has changed
    /// since; or the medium fails: full, read-only, locked, corrupt. Then nothing was changed, and a later commit may well
    /// succeed.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// Queues a transaction behind the commits already waiting, and does not wait. It becomes durable with one of the next
    /// commits, or within a fraction of a second. Where the store cannot be written it is kept,
    /// and tried again with the next one; what is not kept is logged and counted.
    ///
    /// Meant for the outcome of recorded intents, whose loss would be noticed and told at the next start.
    fn commit_later(&self, transaction: Transaction);

    /// Reads whole records: those after `revision`, in order, at most `limit`. A state that was made of a snapshot
    /// ([`load`](Self::load)) and takes in the records after it is the same as one that followed all along. Of what each
    /// server makes of its own configuration (rules, trust) a record has what it is made of, and not the thing itself
    /// ([`State::unknown`](hallmark_state::State::unknown)); of evidence, facts and EK certificates their SHA-256; and nothing
    /// of what the decision rested on.
    ///
    /// # Errors
    /// [`StoreError::Cut`] where records after `revision` are not whole: then the follower takes a snapshot. Or the store
    /// cannot be read.
    fn records_after(&self, revision: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Reads events.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn records(&self, query: RecordQuery) -> BoxFuture<'_, Result<Vec<StoredRecord>, StoreError>>;

    /// Where the SVID with this serial number comes from, if its SPIFFE ID had a role when it was issued. What has expired
    /// is forgotten some time later.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn role_svid(&self, serial: u128) -> BoxFuture<'_, Result<Option<RoleSvid>, StoreError>>;

    /// What a node proved last.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn evidence(&self, node: &SpiffeId) -> BoxFuture<'_, Result<Option<NodeEvidence>, StoreError>>;

    /// A node's logs from their beginning, by kind: one for each of `kinds`, empty where none is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn logs(&self, node: &SpiffeId, kinds: &[u8]) -> BoxFuture<'_, Result<Vec<WholeLog>, StoreError>>;

    /// The facts of at most `limit` nodes whose id is above `after`, by id: a page.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn facts(&self, after: Option<&SpiffeId>, limit: u32) -> BoxFuture<'_, Result<Vec<NodeFacts>, StoreError>>;

    /// The facts of these nodes, of those that have any.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn facts_of(&self, nodes: Vec<SpiffeId>) -> BoxFuture<'_, Result<Vec<NodeFacts>, StoreError>>;

    /// The certificate of an EK that was verified last.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn ek_certificate(&self, ek_sha256: &[u8; 32]) -> BoxFuture<'_, Result<Option<EkCertificate>, StoreError>>;

    /// The certificates of at most `limit` EKs whose hash is above `after`, by hash: a page.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn ek_certificates(
        &self,
        after: Option<&[u8; 32]>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<EkCertificate>, StoreError>>;

    /// Shows that the store can be written: takes the write lock and writes a page. A mark beside the store that is gone is
    /// written anew, and counted in [`Statistics`].
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Counters since the store was opened, and how far the journal goes.
    fn statistics(&self) -> Statistics;
}
