//! The one writer. Jobs that wait while it flushes share the next flush.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hallmark_reason::Coded as _;
use hallmark_state::{Committed, RecentIds, Record, Tail, Transaction};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    apply,
    files::{Files, Stamp},
    journal_row::{self, Head},
    log::Log,
    mark::{Mark, MarkFile},
    queue::{Queue, Queued},
};
use crate::{Follower, Statistics, StoreError};

/// Jobs that may wait; further callers of `commit` wait for room.
const QUEUE: usize = 1024;
/// Jobs in one transaction at most, so that the first of them does not wait for ever.
const GROUP: usize = 256;
/// How long queued outcomes wait for a commit to travel with, before they get a flush of their own.
const LATER: Duration = Duration::from_millis(20);
/// Outcomes that are kept at most while the store does not take them. There are few: it takes no intents either.
const KEPT: usize = 4096;

/// What a job asks of the writer.
enum Work {
    /// Make this durable.
    Commit(Box<Transaction>),
    /// Show that writing works.
    Check,
}

struct Job {
    work: Work,
    /// `None` for `commit_later`.
    answer: Option<Answer>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// One that nobody waits for.
    fn later(transaction: Box<Transaction>) -> Self {
        Self {
            work: Work::Commit(transaction),
            answer: None,
            _room: None,
        }
    }

    /// Whom it is answered.
    fn caller(answer: Option<Answer>, work: &Work) -> Caller {
        match (answer, work) {
            (Some(answer), _) => Caller::Waits(answer),
            (None, Work::Commit(transaction)) => Caller::Later(Some(transaction.clone())),
            (None, Work::Check) => Caller::Later(None),
        }
    }
}

impl Queued for Job {
    fn is_awaited(&self) -> bool {
        self.answer.is_some()
    }
}

type Answer = oneshot::Sender<Result<Committed, StoreError>>;
/// Whom a job is answered; of what nobody waits for, the transaction itself, to be tried again.
enum Caller {
    Waits(Answer),
    Later(Option<Box<Transaction>>),
}

/// A job that is done once its group is durable.
type Finished = (Caller, Committed, Option<OwnedSemaphorePermit>);

#[derive(Default)]
struct Counters {
    jobs: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    later_failures: AtomicU64,
    revision: AtomicU64,
    last_event: AtomicU64,
    marks_gone: AtomicU64,
}

impl Counters {
    fn at(&self, head: &Head) {
        self.revision.store(head.revision, Ordering::Relaxed);
        self.last_event
            .store(head.next_event.saturating_sub(1), Ordering::Relaxed);
    }
}

/// The handle to the writer thread. Dropping it waits until the queue is durable.
pub(super) struct Writer {
    queue: Arc<Queue<Job>>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
    follower: Arc<OnceLock<Arc<dyn Follower>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        path: &Path,
        mut connection: Connection,
        head: Head,
        mut mark: MarkFile,
    ) -> Result<Self, StoreError> {
        let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
        let version = data_version(&connection).map_err(at)?;
        let log = Log::watch(&mut connection).map_err(at)?;
        let files = Files::new(path);
        if let Some(last) = mark.last().cloned() {
            let stamp = files.stamp();
            mark.write(Mark { stamp, ..last }, false)?;
        }
        let queue = Arc::new(Queue::new());
        let counters = Arc::new(Counters::default());
        counters.at(&head);
        let follower = Arc::new(OnceLock::new());
        let writing = Writing {
            path: path.into(),
            connection,
            files,
            log,
            mark,
            version,
            lost: None,
            kept: Vec::new(),
            jobs: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            tail: Tail::new(head.revision),
            ids: RecentIds::new(head.revision),
            head,
            follower: Arc::clone(&follower),
        };
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writing.run())
            .map_err(|e| StoreError::Io {
                path: path.into(),
                reason: e.to_string(),
            })?;
        let room = Arc::new(Semaphore::new(QUEUE));
        Ok(Self {
            queue,
            room,
            counters,
            follower,
            thread: Some(thread),
        })
    }

    /// There is one follower; a second one is not called.
    pub(super) fn follow(&self, follower: Arc<dyn Follower>) {
        let _ = self.follower.set(follower);
    }

    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        self.submit(Work::Commit(Box::new(transaction))).await
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.submit(Work::Check).await.map(|_| ())
    }

    async fn submit(&self, work: Work) -> Result<Committed, StoreError> {
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let wake = self.queue.push(Job {
            work,
            answer: Some(answer),
            _room: Some(room),
        });
        let wake = wake.ok_or(StoreError::Closed)?;
        // Tasks that are ready at the same time put in their jobs first, and share a flush.
        tokio::task::yield_now().await;
        drop(wake);
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no room: a caller's outcome stands before that caller's next job in the queue, so there are never
    /// more outcomes waiting than callers.
    pub(super) fn commit_later(&self, transaction: Transaction) {
        let queued = self.queue.push(Job::later(Box::new(transaction)));
        if queued.is_none() {
            self.counters.later_failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn statistics(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            jobs: read(&self.counters.jobs),
            commits: read(&self.counters.commits),
            failures: read(&self.counters.failures),
            later_failures: read(&self.counters.later_failures),
            queued: u64::try_from(QUEUE.saturating_sub(self.room.available_permits())).unwrap_or(u64::MAX),
            revision: read(&self.counters.revision),
            last_event: read(&self.counters.last_event),
            marks_gone: read(&self.counters.marks_gone),
            ..Statistics::default()
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to flush.
            let _ = thread.join();
        }
    }
}

/// The writer thread's side.
struct Writing {
    path: PathBuf,
    connection: Connection,
    files: Files,
    log: Log,
    mark: MarkFile,
    /// SQLite's count of commits by others.
    version: i64,
    /// Why nothing is written any more.
    lost: Option<StoreError>,
    /// What nobody waits for and the store did not take: it travels with the next group.
    kept: Vec<Transaction>,
    jobs: Arc<Queue<Job>>,
    counters: Arc<Counters>,
    /// Where the journal stands.
    head: Head,
    /// What decisions are held against.
    tail: Tail,
    /// The transactions that are in already.
    ids: RecentIds,
    follower: Arc<OnceLock<Arc<dyn Follower>>>,
}

impl Drop for Writing {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.jobs.abandon();
    }
}

/// A number that is another one once another connection has committed.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

impl Writing {
    fn run(mut self) {
        while let Some(group) = self.jobs.take(GROUP, LATER) {
            self.transactions(group);
        }
        if !self.kept.is_empty() {
            self.transactions(Vec::new());
        }
        // Closing the connection folds the log into the file, and may be cut short.
        if self.lost.is_none() {
            self.mark(None, true);
        }
    }

    fn transactions(&mut self, group: Vec<Job>) {
        let kept = std::mem::take(&mut self.kept).into_iter();
        let kept = kept.map(|transaction| Job::later(Box::new(transaction)));
        let mut group = kept.chain(group).peekable();
        while group.peek().is_some() {
            self.transaction(&mut group);
        }
    }

    /// One transaction over as many of `jobs` as it takes; each stands for itself, so that one fails alone.
    fn transaction(&mut self, jobs: &mut dyn Iterator<Item = Job>) {
        if let Err(error) = self.begin() {
            self.roll_back();
            return jobs.for_each(|job| {
                let caller = Job::caller(job.answer, &job.work);
                self.fail(caller, &error);
            });
        }
        let before = self.head.clone();
        let (mut records, mut done, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for Job { work, answer, _room } in jobs {
            let caller = Job::caller(answer, &work);
            match self.write(work) {
                Ok(record) => {
                    let committed = record
                        .as_ref()
                        .map_or_else(Committed::default, |record: &Record| Committed {
                            revision: record.revision,
                            events: record.events(),
                        });
                    records.extend(record);
                    done.push((caller, committed, _room));
                }
                // What it met may be in this group: who is refused is to find it in the state.
                Err(error) if error.is_refusal() => refused.push((caller, error)),
                Err(error) => {
                    self.fail(caller, &error);
                    // On some errors (disk full, I/O) SQLite rolls the whole transaction back: what went before
                    // in it is gone too. The jobs still to come get a new transaction.
                    if self.connection.is_autocommit() {
                        self.go_back(before);
                        self.make_room(&error);
                        return self.fail_all(done, refused, &error);
                    }
                }
            }
        }
        let written = self.head.write(&self.connection, &records).map_err(|e| self.error(&e));
        match written.and_then(|()| self.flush()) {
            Ok(()) => {
                if !records.is_empty() {
                    self.mark(self.files.stamp(), false);
                }
                self.succeed(&records, done);
                self.fold_if_due();
            }
            Err(error) => {
                self.note(&error);
                self.roll_back();
                self.go_back(before);
                self.make_room(&error);
                return self.fail_all(done, refused, &error);
            }
        }
        refused
            .into_iter()
            .for_each(|(caller, error)| self.fail(caller, &error));
    }

    /// Makes the group durable. Where the disk fails in this, the group may be in the log all the same, and a start would find it.
    fn flush(&self) -> Result<(), StoreError> {
        self.execute("COMMIT").map_err(|e| match self.error(&e) {
            StoreError::Io { path, reason } => StoreError::Unflushed { path, reason },
            other => other,
        })
    }

    /// The group did not become durable: neither did the record that a repeated transaction was told of.
    fn fail_all(&mut self, done: Vec<Finished>, refused: Vec<(Caller, StoreError)>, error: &StoreError) {
        done.into_iter().for_each(|(caller, ..)| self.fail(caller, error));
        for (caller, refusal) in refused {
            let is_undone =
                matches!(refusal, StoreError::AlreadyCommitted { revision, .. } if revision > self.head.revision);
            self.fail(caller, if is_undone { error } else { &refusal });
        }
    }

    /// Begins a transaction, if the files are still the server's alone.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.lost.clone().map_or(Ok(()), Err)?;
        let begun = self.files.require_ours().and_then(|()| {
            self.execute("BEGIN IMMEDIATE").map_err(|e| self.error(&e))?;
            let found = data_version(&self.connection).map_err(|e| self.error(&e))?;
            if found == self.version {
                return Ok(());
            }
            Err(StoreError::OtherWriter {
                path: self.path.clone(),
                how: format!("version of the data {found}, the server's own {}", self.version),
            })
        });
        begun.inspect_err(|error| self.note(error))
    }

    /// Where another one has written, or it is not known what is written, nothing is written any more: not at the end either.
    fn note(&mut self, error: &StoreError) {
        if let StoreError::OtherWriter { .. } | StoreError::Unflushed { .. } = error {
            self.lost.get_or_insert_with(|| error.clone());
            if let Err(e) = Log::leave(&self.connection, true) {
                tracing::error!(error = %e, "the write-ahead log would be folded into the file at the end");
            }
        }
    }

    /// Folds the log into the file once it has grown enough.
    fn fold_if_due(&mut self) {
        if self.log.is_due(&self.path) {
            self.fold();
        }
    }

    /// Where the disk is full, the log gives its room to what comes next, once it was folded into the file.
    fn make_room(&mut self, error: &StoreError) {
        if let StoreError::Full { .. } = error {
            self.fold();
        }
    }

    fn fold(&mut self) {
        if let Err(error) = self.files.require_ours() {
            return self.note(&error);
        }
        // Flushed: a file that changes under a mark that says otherwise would be refused after a power cut.
        if !self.mark(None, true) {
            return;
        }
        if let Err(e) = Log::fold(&self.connection) {
            tracing::warn!(error = %e, "the write-ahead log was not folded into the store's file");
        }
        self.files.renew();
        self.mark(self.files.stamp(), false);
    }

    /// Marks how far the journal goes; whether that worked.
    fn mark(&mut self, stamp: Option<Stamp>, durable: bool) -> bool {
        let Some(last) = self.mark.last() else { return false };
        let incarnation = last.incarnation;
        let marked = self.head.chain().and_then(|chain| {
            let revision = self.head.revision;
            let mark = Mark {
                incarnation,
                revision,
                chain,
                stamp,
            };
            self.mark.write(mark, durable)
        });
        if let Err(error) = &marked {
            tracing::error!(code = %error.code(), %error, compared = error.compared(), "the mark beside the store was not written");
        }
        marked.is_ok()
    }

    /// A mark that somebody else removed or replaced is written anew, and that is told: a start would refuse the store without it.
    fn require_mark(&mut self) {
        if !self.mark.is_gone() {
            return;
        }
        let error = StoreError::MarkGone {
            path: self.path.clone(),
        };
        tracing::error!(code = %error.code(), "{error}");
        self.counters.marks_gone.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.mark.write_anew() {
            tracing::error!(code = %error.code(), %error, compared = error.compared(), "the mark beside the store was not written");
        }
    }

    /// One job; gives the record that it becomes once the group is durable.
    fn write(&mut self, work: Work) -> Result<Option<Record>, StoreError> {
        let transaction = match work {
            Work::Check => {
                apply::check(&self.connection).map_err(|e| self.error(&e))?;
                self.require_mark();
                return Ok(None);
            }
            Work::Commit(transaction) => *transaction,
        };
        self.require_new(&transaction)?;
        if let Some(key) = self.tail.conflict(&transaction.expect) {
            return Err(StoreError::Conflict { key: key.clone() });
        }
        if transaction.changes.is_empty() && transaction.events.is_empty() {
            return Ok(None);
        }
        self.head.require_open(&transaction)?;
        let revision = self.head.revision.saturating_add(1);
        apply::in_savepoint(&self.path, &self.connection, &transaction, revision)?;
        let record = self.head.push(transaction);
        self.tail.push(record.revision, &record.transaction);
        self.ids.push(record.revision, record.transaction.id);
        Ok(Some(record))
    }

    /// Refuses a transaction that is a record already.
    fn require_new(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let (id, rests_on) = (transaction.id, transaction.expect.revision);
        let mut found = self.ids.revision_of(&id);
        if found.is_none() && rests_on < self.ids.floor() {
            found = journal_row::revision_of(&self.path, &self.connection, &id, rests_on)?;
        }
        found.map_or(Ok(()), |revision| Err(StoreError::AlreadyCommitted { id, revision }))
    }

    /// What was pushed since is not durable, and nothing is known of what it would have touched.
    fn go_back(&mut self, head: Head) {
        self.tail = Tail::new(head.revision);
        self.ids.forget_after(head.revision);
        self.head = head;
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.execute("ROLLBACK")
        {
            tracing::error!(error = %e, "the store cannot roll back");
        }
    }

    /// Runs a statement that is parsed once, not at each flush.
    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }

    fn succeed(&self, records: &[Record], done: Vec<Finished>) {
        let jobs = u64::try_from(done.len()).unwrap_or(u64::MAX);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.jobs.fetch_add(jobs, Ordering::Relaxed);
        self.counters.at(&self.head);
        if let Some(follower) = self.follower.get().filter(|_| !records.is_empty()) {
            follower.follow(records);
        }
        for (caller, committed, _) in done {
            if let Caller::Waits(answer) = caller {
                let _ = answer.send(Ok(committed));
            }
        }
    }

    fn fail(&mut self, caller: Caller, error: &StoreError) {
        match caller {
            Caller::Waits(answer) => {
                if !matches!(error, StoreError::Conflict { .. }) {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                }
                let _ = answer.send(Err(error.clone()));
            }
            Caller::Later(Some(transaction)) if self.may_keep(error) => {
                tracing::warn!(code = %error.code(), %error, "a queued change was not stored yet; it is kept for the next group");
                self.kept.push(*transaction);
            }
            Caller::Later(_) => {
                self.counters.later_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(code = %error.code(), %error, "a queued change was not stored");
            }
        }
    }

    /// Whether a change may be taken later that was not taken for this error.
    const fn may_keep(&self, error: &StoreError) -> bool {
        !error.is_refusal() && self.lost.is_none() && self.kept.len() < KEPT
    }
}
