//! What the threads of one pool share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use hallmark_hsm::HsmError;

use crate::{Pkcs11Config, health::Health, module::Module, public::Seen, queue::Queue, recovery::Opening, seat::Seat};

pub(crate) struct Pool {
    pub(crate) config: Pkcs11Config,
    pub(crate) module: Arc<Module>,
    pub(crate) seats: Mutex<Vec<Arc<Seat>>>,
    pub(crate) queue: Queue,
    pub(crate) health: Health,
    pub(crate) opening: Opening,
    pub(crate) seen: Arc<Seen>,
    pub(crate) signatures: Count,
    pub(crate) failures: Count,
    pub(crate) stuck: Stuck,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    pub(crate) fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread of the pool; it is waited for when the store is dropped.
    pub(crate) fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), HsmError> {
        let thread = spawn(name, run)?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// A thread that was given up came back out of the module.
    pub(crate) fn came_back(&self) {
        let left = self.stuck.remove();
        tracing::info!(left, "a call into the token that had hung has ended");
        if left < self.config.stuck_max {
            self.health.freed();
        }
    }
}

pub(crate) fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, HsmError> {
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| HsmError::DeviceError {
            function: "starting a thread for the token".to_owned(),
            cause: error.to_string(),
        })
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: usize) {
        self.0
            .fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many threads were given up and are still in the module.
#[derive(Debug, Default)]
pub(crate) struct Stuck(AtomicUsize);

impl Stuck {
    /// One more; returns how many there are now.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    fn remove(&self) -> usize {
        self.0.fetch_sub(1, Ordering::AcqRel).saturating_sub(1)
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}
