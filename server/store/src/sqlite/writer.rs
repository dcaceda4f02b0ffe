//! The one writer. Jobs that wait while it flushes share the next flush.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hallmark_reason::Coded as _;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::apply;
use crate::{Change, Committed, Statistics, StoreError};

/// Jobs that may wait; further callers of `commit` wait for room.
const QUEUE: usize = 1024;
/// Jobs in one transaction at most, so that the first of them does not wait for ever.
const GROUP: usize = 256;
/// How long queued outcomes wait for a commit to travel with, before they get a flush of their own.
const LATER: Duration = Duration::from_millis(20);

/// What a job asks of the writer.
pub(super) enum Work {
    /// Make these durable.
    Changes(Vec<Change>),
    /// Show that writing works.
    Check,
}

struct Job {
    work: Work,
    /// `None` for `commit_later`.
    answer: Option<oneshot::Sender<Result<Committed, StoreError>>>,
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Counters {
    jobs: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    later_failures: AtomicU64,
    last_record: AtomicI64,
}

/// The handle to the writer thread. Dropping it waits until the queue is durable.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel();
        let last = connection.query_row("SELECT coalesce(max(sequence), 0) FROM records", [], |row| row.get(0));
        let counters = Arc::new(Counters {
            last_record: AtomicI64::new(last.map_err(|e| StoreError::from_sqlite(path, &e))?),
            ..Counters::default()
        });
        let writing = Writing {
            path: path.into(),
            connection,
            file: file_at(path),
            jobs,
            counters: Arc::clone(&counters),
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
            queue: Some(queue),
            room,
            counters,
            thread: Some(thread),
        })
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<Committed, StoreError> {
        self.submit(Work::Changes(changes)).await
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
        self.send(Job {
            work,
            answer: Some(answer),
            _room: Some(room),
        })?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no room: a caller's outcome stands before that caller's next job in the queue, so there are never
    /// more outcomes waiting than callers.
    pub(super) fn commit_later(&self, changes: Vec<Change>) {
        if self
            .send(Job {
                work: Work::Changes(changes),
                answer: None,
                _room: None,
            })
            .is_err()
        {
            self.counters.later_failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        self.queue
            .as_ref()
            .ok_or(StoreError::Closed)?
            .send(job)
            .map_err(|_| StoreError::Closed)
    }

    pub(super) fn statistics(&self) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            jobs: read(&self.counters.jobs),
            commits: read(&self.counters.commits),
            failures: read(&self.counters.failures),
            later_failures: read(&self.counters.later_failures),
            last_record: self.counters.last_record.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
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
    /// Device and inode of the file that was opened.
    file: Option<(u64, u64)>,
    jobs: mpsc::Receiver<Job>,
    counters: Arc<Counters>,
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl Writing {
    fn run(self) {
        while let Some(group) = self.gather() {
            let mut group = group.into_iter().peekable();
            while group.peek().is_some() {
                self.transaction(&mut group);
            }
        }
    }

    /// Waits for a job and takes all that wait behind it. Jobs that nobody waits for are held back a little, to
    /// travel with one that somebody does. `None` when the store was dropped and the queue is empty.
    fn gather(&self) -> Option<Vec<Job>> {
        let mut group = vec![self.jobs.recv().ok()?];
        let deadline = Instant::now() + LATER;
        loop {
            let left = GROUP.saturating_sub(group.len());
            group.extend(self.jobs.try_iter().take(left));
            if group.len() >= GROUP || group.iter().any(|job| job.answer.is_some()) {
                return Some(group);
            }
            match self
                .jobs
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(job) => group.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Some(group);
                }
            }
        }
    }

    /// One transaction over as many of `jobs` as it takes; each in its own savepoint, so that one fails alone.
    fn transaction(&self, jobs: &mut dyn Iterator<Item = Job>) {
        // SQLite goes on writing to a file that has no name any more: what is acknowledged then is lost.
        if file_at(&self.path) != self.file {
            let gone = StoreError::Gone {
                path: self.path.clone(),
            };
            return jobs.for_each(|job| self.fail(job, &gone));
        }
        if let Err(e) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            let error = self.error(&e);
            return jobs.for_each(|job| self.fail(job, &error));
        }
        let mut done: Vec<(Job, Committed)> = Vec::new();
        for job in jobs {
            match apply::in_savepoint(&self.path, &self.connection, &job.work) {
                Ok(committed) => done.push((job, committed)),
                Err(error) => {
                    self.fail(job, &error);
                    // On some errors (disk full, I/O) SQLite rolls the whole transaction back: what went before
                    // in it is gone too. The jobs still to come get a new transaction.
                    if self.connection.is_autocommit() {
                        return done.into_iter().for_each(|(job, _)| self.fail(job, &error));
                    }
                }
            }
        }
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => self.succeed(done),
            Err(e) => {
                let error = self.error(&e);
                self.roll_back();
                done.into_iter().for_each(|(job, _)| self.fail(job, &error));
            }
        }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %e, "the store cannot roll back");
        }
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }

    fn succeed(&self, done: Vec<(Job, Committed)>) {
        let jobs = u64::try_from(done.len()).unwrap_or(u64::MAX);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.jobs.fetch_add(jobs, Ordering::Relaxed);
        for (job, committed) in done {
            if let Some(records) = committed.records {
                self.counters.last_record.fetch_max(records.last, Ordering::Relaxed);
            }
            if let Some(answer) = job.answer {
                let _ = answer.send(Ok(committed));
            }
        }
    }

    fn fail(&self, job: Job, error: &StoreError) {
        if let Some(answer) = job.answer {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            let _ = answer.send(Err(error.clone()));
        } else {
            self.counters.later_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(code = %error.code(), %error, "a queued change was not stored");
        }
    }
}
