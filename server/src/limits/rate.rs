//! How often: token buckets that delay, and refuse what delay cannot serve.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tonic::Status;

use super::{Network, network::forget_half};

/// The most networks that are watched at a time; whoever has not been seen for longest is forgotten first.
const MAX_NETWORKS: usize = 65_536;
/// Nobody is made to wait for longer; agents give up after 30 s.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// A token bucket per network: `rate` tokens come each second, and no more than `rate` wait in the bucket.
#[derive(Debug)]
pub struct RateLimit {
    rate: AtomicU32,
    buckets: Mutex<HashMap<Network, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When the last token handed out comes; in the future while callers wait.
    empty_at: Instant,
}

impl RateLimit {
    /// `rate` per second and network; 0 for no limit.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate: AtomicU32::new(rate),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Another rate from now on.
    pub(super) fn set(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Takes `count` tokens for `address`, waiting for them; `None` is a caller that no limit applies to.
    ///
    /// # Errors
    /// `ResourceExhausted` when more are asked for than a bucket holds, or too many wait already.
    pub async fn take(&self, address: Option<IpAddr>, count: usize) -> Result<(), Status> {
        let rate = self.rate.load(Ordering::Relaxed);
        let Some(address) = address.filter(|_| rate != 0) else {
            return Ok(());
        };
        let wait = self.reserve(rate, Network::of(address), count, Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Hands out tokens as of `now` and says how long to wait for them.
    fn reserve(&self, rate: u32, network: Network, count: usize, now: Instant) -> Result<Duration, Status> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > rate {
            return Err(Status::resource_exhausted(format!(
                "rate ({count}) exceeds burst size ({rate}): split the batch"
            )));
        }
        let one = Duration::from_secs(1) / rate;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // A bucket that has been filling for a second is full.
        let full = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let empty_at = buckets.get(&network).map_or(full, |bucket| bucket.empty_at.max(full)) + one * count;
        let wait = empty_at.saturating_duration_since(now);
        if wait > MAX_DELAY {
            return Err(Status::resource_exhausted("rate limit exceeded"));
        }
        if buckets.len() >= MAX_NETWORKS && !buckets.contains_key(&network) {
            // A full bucket is as good as none.
            buckets.retain(|_, bucket| bucket.empty_at > full);
            if buckets.len() >= MAX_NETWORKS {
                forget_half(&mut buckets);
            }
        }
        buckets.insert(network, Bucket { empty_at });
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn reserve(limit: &RateLimit, address: IpAddr, count: usize, now: Instant) -> Result<Duration, Status> {
        limit.reserve(limit.rate.load(Ordering::Relaxed), Network::of(address), count, now)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (limit, now) = (RateLimit::new(10), Instant::now());
        assert_eq!(reserve(&limit, A, 10, now).unwrap(), Duration::ZERO);
        assert_eq!(reserve(&limit, A, 1, now).unwrap(), Duration::from_millis(100));
        assert_eq!(
            reserve(&limit, B, 10, now).unwrap(),
            Duration::ZERO,
            "another address has its own bucket"
        );
        assert_eq!(
            reserve(&limit, A, 1, now + Duration::from_secs(5)).unwrap(),
            Duration::ZERO,
            "it fills again"
        );
    }

    #[test]
    fn more_than_the_burst_at_once_is_refused() {
        let (limit, now) = (RateLimit::new(10), Instant::now());
        assert_eq!(
            reserve(&limit, A, 11, now).unwrap_err().code(),
            tonic::Code::ResourceExhausted
        );
        assert!(reserve(&limit, A, 10, now).is_ok());
    }

    #[test]
    fn the_line_is_bounded() {
        let (limit, now) = (RateLimit::new(1), Instant::now());
        let waiting = (0..100).filter(|_| reserve(&limit, A, 1, now).is_ok()).count();
        assert_eq!(waiting, 11);
        assert!(reserve(&limit, A, 1, now + Duration::from_secs(3)).is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let (limit, now) = (RateLimit::new(1), Instant::now());
        for number in 0..u32::try_from(MAX_NETWORKS).unwrap() + 1000 {
            reserve(&limit, IpAddr::from(number.to_be_bytes()), 1, now).unwrap();
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_NETWORKS);
    }

    #[test]
    fn another_rate_holds_from_the_next_call_on() {
        let (limit, now) = (RateLimit::new(10), Instant::now());
        assert_eq!(reserve(&limit, A, 10, now).unwrap(), Duration::ZERO);
        limit.set(2);
        assert_eq!(reserve(&limit, A, 1, now).unwrap(), Duration::from_millis(500));
        assert!(reserve(&limit, A, 3, now).is_err());
    }

    #[tokio::test]
    async fn the_admin_socket_and_a_rate_of_zero_are_free() {
        assert!(RateLimit::new(1).take(None, 1000).await.is_ok());
        assert!(RateLimit::new(0).take(Some(A), 1000).await.is_ok());
    }
}
