//! The one bounded queue in front of the sessions.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hallmark_hsm::HsmError;
use tokio::sync::oneshot;

use crate::{connection::Connection, failure::Failure, seat::Waiter};

/// A piece of work for one session, and who waits for it.
pub(crate) trait Job: Send {
    /// Does the work and answers it, or says why not and stays ready to be tried again.
    fn run(&mut self, connection: &mut Connection) -> Result<(), Failure>;
    /// Answers with an error.
    fn fail(&mut self, error: HsmError);
    /// Whether nobody waits any more.
    fn is_abandoned(&self) -> bool;
    /// Whether it may be done twice.
    fn is_repeatable(&self) -> bool;
    /// How long one call of it into the module may last.
    fn limit(&self) -> Duration;
    /// Who waits for it.
    fn waiter(&self) -> Arc<dyn Waiter>;
}

/// The channel for a job's answer, which is given once.
pub(crate) struct Reply<T>(Mutex<Option<oneshot::Sender<Result<T, HsmError>>>>);

impl<T> Reply<T> {
    pub(crate) fn new(sender: oneshot::Sender<Result<T, HsmError>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(sender))))
    }

    fn answer(&self, answer: Result<T, HsmError>) {
        if let Some(reply) = self.lock().take() {
            // Nobody waiting any more is no fault.
            let _ = reply.send(answer);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Result<T, HsmError>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Waiter for Reply<T> {
    fn give_up(&self, error: HsmError) {
        self.answer(Err(error));
    }
}

/// A job made of a closure and the channel for its answer.
pub(crate) struct Typed<T, W> {
    pub(crate) work: W,
    pub(crate) reply: Arc<Reply<T>>,
    pub(crate) repeatable: bool,
    /// How long one call into the module may last.
    pub(crate) limit: Duration,
}

impl<T, W> Job for Typed<T, W>
where
    T: Send + 'static,
    W: FnMut(&mut Connection) -> Result<T, Failure> + Send,
{
    fn run(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let done = (self.work)(connection)?;
        self.reply.answer(Ok(done));
        Ok(())
    }

    fn fail(&mut self, error: HsmError) {
        self.reply.answer(Err(error));
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }

    fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn waiter(&self) -> Arc<dyn Waiter> {
        Arc::<Reply<T>>::clone(&self.reply)
    }
}

/// A job and when it arrived.
pub(crate) struct Queued {
    pub(crate) job: Box<dyn Job>,
    pub(crate) arrived: Instant,
}

/// Wakes sessions when it is dropped.
#[must_use]
pub(crate) struct Wake<'a>(&'a Queue);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The queue. A full one refuses at once, so that no caller ever waits to put a job in.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    capacity: usize,
}

struct Inner {
    jobs: VecDeque<Queued>,
    open: bool,
    /// Sessions that wait for a job and were not woken yet.
    waiting: usize,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                jobs: VecDeque::new(),
                open: true,
                waiting: 0,
            }),
            filled: Condvar::new(),
            capacity: capacity.max(1),
        }
    }

    /// Puts a job in. Sessions are woken when the answer is dropped.
    pub(crate) fn push(&self, job: Box<dyn Job>) -> Result<Wake<'_>, HsmError> {
        let mut inner = self.lock();
        if !inner.open {
            return Err(HsmError::Closed);
        }
        let waiting = inner.jobs.len();
        if waiting >= self.capacity {
            return Err(HsmError::Busy { waiting });
        }
        inner.jobs.push_back(Queued {
            job,
            arrived: Instant::now(),
        });
        Ok(Wake(self))
    }

    /// Wakes as many of the sessions that wait as there are jobs.
    fn wake(&self) {
        let mut inner = self.lock();
        let woken = inner.waiting.min(inner.jobs.len());
        inner.waiting -= woken;
        drop(inner);
        // Each is a call into the kernel, also where nobody waits.
        for _ in 0..woken {
            self.filled.notify_one();
        }
    }

    /// The next job; waits for one. `None` once the queue is closed.
    pub(crate) fn pop(&self) -> Option<Queued> {
        let mut inner = self.lock();
        loop {
            if !inner.open {
                return None;
            }
            if let Some(next) = inner.jobs.pop_front() {
                return Some(next);
            }
            // Whoever wakes it counts it off. One that wakes by itself is counted twice, and is woken in vain at worst.
            inner.waiting += 1;
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Ends the queue; jobs that still wait are answered with [`HsmError::Closed`].
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.open = false;
        let left = std::mem::take(&mut inner.jobs);
        drop(inner);
        self.filled.notify_all();
        for mut queued in left {
            queued.job.fail(HsmError::Closed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
