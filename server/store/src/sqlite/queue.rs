//! The writer's queue.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What may wait in the queue.
pub(super) trait Queued {
    /// Whether somebody waits until it is done.
    fn is_awaited(&self) -> bool;
}

/// Jobs in their order. One thread takes them, in groups; to wake it is a call into the kernel, so whoever puts in several
/// jobs does that once.
pub(super) struct Queue<J> {
    inner: Mutex<Inner<J>>,
    filled: Condvar,
}

struct Inner<J> {
    jobs: VecDeque<J>,
    /// How many of them somebody waits for.
    awaited: usize,
    open: bool,
    sleeps: Sleeps,
}

/// What the taking thread sleeps for, until it is woken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleeps {
    /// It does not.
    No,
    /// Any job.
    UntilAny,
    /// A job that somebody waits for, or the end of a time.
    UntilAwaited,
}

/// Wakes the taking thread when it is dropped.
#[must_use]
pub(super) struct Wake<'a, J>(&'a Queue<J>);

impl<J> Drop for Wake<'_, J> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match inner.sleeps {
            Sleeps::No => false,
            Sleeps::UntilAny => !inner.jobs.is_empty(),
            Sleeps::UntilAwaited => inner.awaited > 0,
        };
        if is_due {
            inner.sleeps = Sleeps::No;
            drop(inner);
            self.0.filled.notify_one();
        }
    }
}

impl<J: Queued> Queue<J> {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                jobs: VecDeque::new(),
                awaited: 0,
                open: true,
                sleeps: Sleeps::No,
            }),
            filled: Condvar::new(),
        }
    }

    /// Puts a job in. The taking thread is woken when the answer is dropped. `None` once the queue is closed.
    pub(super) fn push(&self, job: J) -> Option<Wake<'_, J>> {
        let mut inner = self.lock();
        if !inner.open {
            return None;
        }
        inner.awaited += usize::from(job.is_awaited());
        inner.jobs.push_back(job);
        Some(Wake(self))
    }

    /// Waits for a job and takes all that wait behind it, `most` at most. Jobs that nobody waits for are held back for
    /// `later`, to travel with one that somebody does. `None` once the queue is closed and empty.
    pub(super) fn take(&self, most: usize, later: Duration) -> Option<Vec<J>> {
        let mut inner = self.lock();
        let mut deadline = None;
        loop {
            let now = Instant::now();
            let is_due = inner.awaited > 0 || inner.jobs.len() >= most || !inner.open;
            if inner.jobs.is_empty() {
                if !inner.open {
                    return None;
                }
                inner.sleeps = Sleeps::UntilAny;
                inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
            } else if is_due || deadline.is_some_and(|deadline| now >= deadline) {
                let count = inner.jobs.len().min(most);
                let group: Vec<J> = inner.jobs.drain(..count).collect();
                let awaited = group.iter().filter(|job| job.is_awaited()).count();
                inner.awaited = inner.awaited.saturating_sub(awaited);
                return Some(group);
            } else {
                let left = deadline.get_or_insert(now + later).saturating_duration_since(now);
                inner.sleeps = Sleeps::UntilAwaited;
                let waited = self.filled.wait_timeout(inner, left);
                inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            inner.sleeps = Sleeps::No;
        }
    }

    /// Ends the queue; what is in it can still be taken.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.filled.notify_one();
    }

    /// Ends the queue and drops what is in it: nobody takes jobs any more.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.open = false;
        let left = std::mem::take(&mut inner.jobs);
        drop(inner);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Job {
        Awaited(u8),
        Later(u8),
    }

    impl Queued for Job {
        fn is_awaited(&self) -> bool {
            matches!(self, Self::Awaited(_))
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn jobs_are_taken_together_in_their_order() {
        let queue = Queue::new();
        for number in 0..5 {
            drop(queue.push(Job::Awaited(number)));
        }
        assert_eq!(queue.take(3, LONG).unwrap(), [0, 1, 2].map(Job::Awaited));
        assert_eq!(queue.take(3, LONG).unwrap(), [3, 4].map(Job::Awaited));
    }

    #[test]
    fn what_nobody_waits_for_travels_with_what_somebody_does() {
        let queue = Arc::new(Queue::new());
        drop(queue.push(Job::Later(1)));
        let taking = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || queue.take(9, LONG))
        };
        // The taking thread sleeps by now, or will find both: it is woken, whichever comes first.
        drop(queue.push(Job::Later(2)));
        drop(queue.push(Job::Awaited(3)));
        let taken = taking.join().unwrap().unwrap();
        assert_eq!(taken, [Job::Later(1), Job::Later(2), Job::Awaited(3)]);
        drop(queue.push(Job::Later(4)));
        assert_eq!(queue.take(9, Duration::from_millis(1)).unwrap(), [Job::Later(4)]);
    }

    #[test]
    fn a_thread_that_sleeps_is_woken_once_for_all() {
        let queue = Arc::new(Queue::new());
        let taking = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || queue.take(9, LONG))
        };
        while queue.lock().sleeps == Sleeps::No {
            std::thread::yield_now();
        }
        let first = queue.push(Job::Awaited(1));
        let second = queue.push(Job::Awaited(2));
        assert!(queue.lock().sleeps == Sleeps::UntilAny, "nobody has woken it yet");
        drop(first);
        drop(second);
        assert_eq!(taking.join().unwrap().unwrap(), [1, 2].map(Job::Awaited));
    }

    #[test]
    fn a_closed_queue_gives_what_is_in_it_and_takes_no_more() {
        let queue = Queue::new();
        drop(queue.push(Job::Later(1)));
        queue.close();
        assert!(queue.push(Job::Awaited(2)).is_none());
        assert_eq!(queue.take(9, LONG).unwrap(), [Job::Later(1)]);
        assert!(queue.take(9, LONG).is_none());
    }
}
