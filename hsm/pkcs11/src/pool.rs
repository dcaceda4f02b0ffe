//! What the threads of one pool share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{Pkcs11Config, connection::Seat, health::Health, module::Module, public::Seen, queue::Queue};

pub(crate) struct Pool {
    pub(crate) config: Pkcs11Config,
    pub(crate) module: Arc<Module>,
    pub(crate) seats: Vec<Arc<Seat>>,
    pub(crate) queue: Queue,
    pub(crate) health: Health,
    pub(crate) seen: Arc<Seen>,
    pub(crate) signatures: Count,
    pub(crate) failures: Count,
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
