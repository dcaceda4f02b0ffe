//! Reads on their own threads, each with its own read-only connection.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{SqliteOptions, open};
use crate::StoreError;

/// Reads are rare (start-up, the operator's look at the records): two let a long one not hold up a short one.
const READERS: usize = 2;

type Work = Box<dyn FnOnce(&Connection) + Send>;

/// Dropping it waits until the threads have closed their connections: the last to close, which has to be the writer,
/// folds the write-ahead log into the file.
pub(super) struct Readers {
    queues: Vec<mpsc::Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn start(options: &SqliteOptions) -> Result<Self, StoreError> {
        let (mut queues, mut threads) = (Vec::with_capacity(READERS), Vec::with_capacity(READERS));
        for _ in 0..READERS {
            let connection = open::readable(options)?;
            let (queue, work) = mpsc::channel::<Work>();
            let thread = thread::Builder::new()
                .name("store-reader".into())
                .spawn(move || work.iter().for_each(|work| work(&connection)))
                .map_err(|e| StoreError::Io {
                    path: options.path().into(),
                    reason: e.to_string(),
                })?;
            queues.push(queue);
            threads.push(thread);
        }
        Ok(Self {
            queues,
            threads,
            next: AtomicUsize::new(0),
        })
    }

    /// Runs `read` on the next reader.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // Nobody waits any more when the caller gave up.
            let _ = answer.send(read(connection));
        });
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % READERS;
        let queue = self.queues.get(turn).ok_or(StoreError::Closed)?;
        queue.send(work).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A reader that panicked has closed its connection.
            let _ = thread.join();
        }
    }
}
