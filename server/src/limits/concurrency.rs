//! How much at a time, where whoever comes too many waits in line.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{Network, reserve};

/// How long a caller waits for a permit.
const PATIENCE: Duration = Duration::from_secs(10);
/// Networks remembered before those without a permit are forgotten.
const MAX_IDLE_NETWORKS: usize = 4096;

/// A bounded number of permits, of which one network may have an eighth; a quarter is kept for known networks.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    count: usize,
    all: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    networks: Mutex<HashMap<Network, Arc<Semaphore>>>,
}

/// A permit, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    _one_of_all: OwnedSemaphorePermit,
    _one_of_the_network: OwnedSemaphorePermit,
}

impl ConcurrencyLimit {
    /// `count` permits.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        Self {
            count,
            all: Arc::new(Semaphore::new(count - reserve(count))),
            reserved: Arc::new(Semaphore::new(reserve(count))),
            networks: Mutex::new(HashMap::new()),
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes a permit, waiting a while for one to become free.
    ///
    /// # Errors
    /// `ResourceExhausted` when none does.
    pub async fn take(&self, (network, is_known): (Network, bool)) -> Result<Permit, Status> {
        let own = self.of(network);
        let taking = async {
            let one_of_the_network = own.acquire_owned().await?;
            let one_of_all = self.one_of_all(is_known).await?;
            Ok::<_, AcquireError>(Permit {
                _one_of_all: one_of_all,
                _one_of_the_network: one_of_the_network,
            })
        };
        match tokio::time::timeout(PATIENCE, taking).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Status::unavailable("the server is stopping")),
            Err(_) => Err(Status::resource_exhausted(
                "too many attestations are under way; try again later",
            )),
        }
    }

    async fn one_of_all(&self, is_known: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        let all = Arc::clone(&self.all).acquire_owned();
        if !is_known {
            return all.await;
        }
        let reserved = Arc::clone(&self.reserved).acquire_owned();
        tokio::select! {
            biased;
            permit = all => permit,
            permit = reserved => permit,
        }
    }

    fn of(&self, network: Network) -> Arc<Semaphore> {
        let share = self.count.div_ceil(8);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= MAX_IDLE_NETWORKS {
            networks.retain(|_, permits| Arc::strong_count(permits) > 1 || permits.available_permits() < share);
        }
        let new = || Arc::new(Semaphore::new(share));
        Arc::clone(networks.entry(network).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn stranger(number: u8) -> (Network, bool) {
        (Network::of(IpAddr::from([192, 0, 2, number])), false)
    }

    fn known(number: u8) -> (Network, bool) {
        (stranger(number).0, true)
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_a_small_share() {
        let limit = ConcurrencyLimit::new(16);
        let first = limit.take(stranger(1)).await.unwrap();
        let _second = limit.take(stranger(1)).await.unwrap();
        let refused = limit.take(stranger(1)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let _other = limit.take(stranger(2)).await.unwrap();
        drop(first);
        assert!(limit.take(stranger(1)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_leave_room_for_those_who_proved_themselves() {
        let limit = ConcurrencyLimit::new(8);
        let mut held = Vec::new();
        for number in 0..6 {
            held.push(limit.take(stranger(number)).await.unwrap());
        }
        assert!(limit.take(stranger(6)).await.is_err(), "the strangers' room is full");
        held.push(limit.take(known(7)).await.unwrap());
        held.push(limit.take(known(8)).await.unwrap());
        assert!(limit.take(known(9)).await.is_err(), "and now all of it");
        drop(held.remove(0));
        assert!(limit.take(known(9)).await.is_ok());
    }

    #[tokio::test]
    async fn the_least_limit_lets_everybody_in_one_after_the_other() {
        let limit = ConcurrencyLimit::new(1);
        for number in 0..3 {
            drop(limit.take(stranger(number)).await.unwrap());
            drop(limit.take(known(number)).await.unwrap());
        }
    }
}
