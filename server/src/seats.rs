//! Room for a bounded number of something (connections, attestations), shared fairly between addresses.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::limits::network_of;

/// How long a caller waits for a seat.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses remembered before those without a seat are forgotten.
const MAX_IDLE_ADDRESSES: usize = 4096;

/// A bounded number of seats, of which one address (of IPv6, one /64) may have at most half.
#[derive(Debug)]
pub struct Seats {
    all: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A seat, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    _one_of_all: OwnedSemaphorePermit,
    _one_of_the_address: OwnedSemaphorePermit,
}

impl Seats {
    /// `count` seats.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count.max(1))),
            per_address: count.div_ceil(2).max(1),
            addresses: Mutex::new(HashMap::new()),
        }
    }

    /// Takes a seat, waiting a while for one to become free.
    ///
    /// # Errors
    /// `ResourceExhausted` when none does.
    pub async fn take(&self, address: IpAddr) -> Result<Seat, Status> {
        let own = self.of(address);
        let taking = async {
            let one_of_the_address = own.acquire_owned().await?;
            let one_of_all = Arc::clone(&self.all).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Seat {
                _one_of_all: one_of_all,
                _one_of_the_address: one_of_the_address,
            })
        };
        match tokio::time::timeout(PATIENCE, taking).await {
            Ok(Ok(seat)) => Ok(seat),
            Ok(Err(_)) => Err(Status::unavailable("the server is stopping")),
            Err(_) => Err(Status::resource_exhausted(
                "too many attestations are under way; try again later",
            )),
        }
    }

    /// Takes a seat if one is free.
    pub fn try_take(&self, address: IpAddr) -> Option<Seat> {
        Some(Seat {
            _one_of_the_address: self.of(address).try_acquire_owned().ok()?,
            _one_of_all: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let address = network_of(address);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= MAX_IDLE_ADDRESSES {
            addresses.retain(|_, seats| Arc::strong_count(seats) > 1 || seats.available_permits() < self.per_address);
        }
        let new = || Arc::new(Semaphore::new(self.per_address));
        Arc::clone(addresses.entry(address).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_every_seat() {
        let seats = Seats::new(4);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = seats.take(a).await.unwrap();
        let _second = seats.take(a).await.unwrap();
        assert_eq!(seats.take(a).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
        let _other = seats.take(b).await.unwrap();
        assert!(seats.try_take(a).is_none() && seats.try_take(b).is_some());
        drop(first);
        assert!(seats.take(a).await.is_ok());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_their_half() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let seats = Seats::new(4);
        let _held = [
            seats.try_take(address("2001:db8::1")).unwrap(),
            seats.try_take(address("2001:db8::2")).unwrap(),
        ];
        assert!(seats.try_take(address("2001:db8::3")).is_none());
        assert!(seats.try_take(address("2001:db8:0:1::3")).is_some());
    }
}
