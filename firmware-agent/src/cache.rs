//! What the agent serves to workloads: an immutable snapshot behind a watch channel.
//!
//! One writer ([`Publisher`], owned by the sync task) replaces the snapshot as a whole; any number of
//! [`Cache`] readers take the newest one by cloning an `Arc`, or wait for the next. A reader never
//! sees half of a change.

mod secret;
mod snapshot;

pub use secret::SecretBytes;
pub use snapshot::{Snapshot, WorkloadEntry, X509Material};

use std::sync::Arc;

use tokio::sync::watch;

/// The reading side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache(watch::Receiver<Arc<Snapshot>>);

impl Cache {
    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// A receiver of its own, for a stream that waits for changes: `changed().await`, then
    /// `borrow_and_update()`. `changed` fails once the agent is stopping.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.clone()
    }
}

/// The writing side; there is one.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Arc<Snapshot>>);

impl Publisher {
    /// Replaces the snapshot; its version is set to one more than the last.
    pub fn publish(&self, mut next: Snapshot) {
        self.0.send_modify(|current| {
            next.version = current.version.saturating_add(1);
            *current = Arc::new(next);
        });
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }
}

/// A cache that holds `first`, usually [`Snapshot::empty`].
#[must_use]
pub fn channel(first: Snapshot) -> (Publisher, Cache) {
    let (sender, receiver) = watch::channel(Arc::new(first));
    (Publisher(sender), Cache(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_spiffe::TrustDomain;

    #[tokio::test]
    async fn a_reader_sees_each_new_version_once() {
        let td = TrustDomain::parse("example.org").unwrap();
        let (publisher, cache) = channel(Snapshot::empty(td.clone()));
        let mut changes = cache.subscribe();
        assert_eq!(cache.snapshot().version, 0);
        let mut next = Snapshot::empty(td);
        next.ready = true;
        publisher.publish(next);
        changes.changed().await.unwrap();
        assert!(changes.borrow_and_update().ready);
        assert_eq!(cache.snapshot().version, 1);
        assert!(!changes.has_changed().unwrap());
    }
}
