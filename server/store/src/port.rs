//! The port.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::SpiffeId;
use hallmark_state::Entry;

use crate::{
    Agent, Authority, Change, EkCertificate, HeldEvidence, NodeEvidence, NodeFacts, PolicyFile, RecordQuery,
    RecordRange, RoleSvid, StoreError, StoredRecord, Total, TpmName, WholeLog,
};

/// Everything a server needs to start.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Every entry, in the order of creation (then by id).
    pub entries: Vec<Entry>,
    /// Every agent, by id.
    pub agents: Vec<Agent>,
    /// Every line of the inventory, by EK.
    pub inventory: Vec<InventoryItem>,
    /// Every Name that a TPM proved.
    pub tpm_names: Vec<TpmName>,
    /// The EKs of each machine of which operators list several.
    pub machine_eks: Vec<BTreeSet<EkId>>,
    /// Every authority, oldest first.
    pub authorities: Vec<Authority>,
    /// How far each node's evidence goes, by node.
    pub held: Vec<HeldEvidence>,
    /// Every policy and baseline that was ever applied, by kind and name.
    pub policy_files: Vec<PolicyFile>,
    /// The bundle's sequence number; 0 before the first authority.
    pub bundle_sequence: u64,
    /// Counts of records.
    pub totals: Vec<Total>,
    /// How many SVID intents were found without an outcome when the store was opened. They have been settled
    /// as [`Outcome::Interrupted`](crate::Outcome::Interrupted) with the code [`INTERRUPTED`](crate::INTERRUPTED).
    pub interrupted: u64,
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// The records that it appended; `None` when there were none.
    pub records: Option<RecordRange>,
    /// Those among them that are intents: what allows their SVIDs to be signed.
    pub intents: Option<RecordRange>,
}

/// Counters since the store was opened, and how far the records go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Lists of changes that became durable.
    pub jobs: u64,
    /// Transactions that they shared: flushes to disk.
    pub commits: u64,
    /// Lists of changes that failed.
    pub failures: u64,
    /// Lists given to [`Store::commit_later`] that failed.
    pub later_failures: u64,
    /// The sequence number of the last record; 0 without one. Records are never deleted.
    pub last_record: i64,
}

/// Where the server keeps what must outlive it.
///
/// Whatever [`commit`](Self::commit) acknowledged survives a crash of the process or of the machine.
pub trait Store: Send + Sync {
    /// Reads everything that a server needs to start.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a row that does not decode.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Makes `changes` durable, all or none, in order, and answers after the flush.
    ///
    /// # Errors
    /// When a change is refused (see [`Change`]), or the medium fails: full, read-only, locked, corrupt. Then
    /// none of the changes was made, and a later commit may well succeed.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// Queues `changes` behind the commits already waiting, and does not wait. They become durable with one of the
    /// next commits, or within a fraction of a second. A failure is logged and counted.
    ///
    /// Meant for the outcome of recorded intents, whose loss would be noticed and told at the next start.
    fn commit_later(&self, changes: Vec<Change>);

    /// Reads records.
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

    /// Shows that the store can be written: takes the write lock and writes a page.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Counters since the store was opened, and how far the records go.
    fn statistics(&self) -> Statistics;
}
