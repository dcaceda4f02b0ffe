//! Limits per address: token buckets that delay, and refuse what delay cannot serve.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::Status;

use crate::config::LimitSettings;

/// The most addresses that are watched at a time; whoever has not been seen for longest is forgotten first.
const MAX_ADDRESSES: usize = 65_536;
/// Nobody is made to wait for longer; agents give up after 30 s.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Every limit of the server.
#[derive(Debug)]
pub struct Limits {
    /// Attestations begun.
    pub attest: Limit,
    /// Status reports.
    pub post_status: Limit,
    /// SVIDs asked for; each item of a batch counts.
    pub signing: Limit,
}

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            attest: Limit::new(settings.attestations_per_second_per_ip),
            post_status: Limit::new(10),
            signing: Limit::new(settings.signing_per_second_per_ip),
        }
    }
}

/// A token bucket per address: `rate` tokens come each second, and no more than `rate` wait in the bucket.
#[derive(Debug)]
pub struct Limit {
    rate: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When the last token handed out comes; in the future while callers wait.
    empty_at: Instant,
}

impl Limit {
    /// `rate` per second and address; 0 for no limit.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes `count` tokens for `address`, waiting for them; `None` is a caller that no limit applies to.
    ///
    /// # Errors
    /// `ResourceExhausted` when more are asked for than a bucket holds, or too many wait already.
    pub async fn take(&self, address: Option<IpAddr>, count: usize) -> Result<(), Status> {
        let Some(address) = address.filter(|_| self.rate != 0) else {
            return Ok(());
        };
        let wait = self.reserve(network_of(address), count, Instant::now())?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Hands out tokens as of `now` and says how long to wait for them.
    fn reserve(&self, address: IpAddr, count: usize, now: Instant) -> Result<Duration, Status> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > self.rate {
            return Err(Status::resource_exhausted(format!(
                "rate ({count}) exceeds burst size ({}): split the batch",
                self.rate
            )));
        }
        let one = Duration::from_secs(1) / self.rate;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // A bucket that has been filling for a second is full.
        let full = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let empty_at = buckets.get(&address).map_or(full, |bucket| bucket.empty_at.max(full)) + one * count;
        let wait = empty_at.saturating_duration_since(now);
        if wait > MAX_DELAY {
            return Err(Status::resource_exhausted("rate limit exceeded"));
        }
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&address) {
            make_room(&mut buckets, full);
        }
        buckets.insert(address, Bucket { empty_at });
        Ok(wait)
    }
}

/// Forgets full buckets, which are as good as none; if all are in use, an arbitrary half: no table grows for ever.
fn make_room(buckets: &mut HashMap<IpAddr, Bucket>, full: Instant) {
    buckets.retain(|_, bucket| bucket.empty_at > full);
    if buckets.len() >= MAX_ADDRESSES {
        let mut keep = false;
        buckets.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

/// Whoever has one IPv6 address has its whole /64, which therefore counts as one.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (limit, now) = (Limit::new(10), Instant::now());
        assert_eq!(limit.reserve(A, 10, now).unwrap(), Duration::ZERO);
        assert_eq!(limit.reserve(A, 1, now).unwrap(), Duration::from_millis(100));
        assert_eq!(
            limit.reserve(B, 10, now).unwrap(),
            Duration::ZERO,
            "another address has its own bucket"
        );
        assert_eq!(
            limit.reserve(A, 1, now + Duration::from_secs(5)).unwrap(),
            Duration::ZERO,
            "it fills again"
        );
    }

    #[test]
    fn more_than_the_burst_at_once_is_refused() {
        let (limit, now) = (Limit::new(10), Instant::now());
        assert_eq!(
            limit.reserve(A, 11, now).unwrap_err().code(),
            tonic::Code::ResourceExhausted
        );
        assert!(limit.reserve(A, 10, now).is_ok());
    }

    #[test]
    fn the_line_is_bounded() {
        let (limit, now) = (Limit::new(1), Instant::now());
        let waiting = (0..100).filter(|_| limit.reserve(A, 1, now).is_ok()).count();
        assert_eq!(waiting, 11);
        assert!(limit.reserve(A, 1, now + Duration::from_secs(3)).is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let (limit, now) = (Limit::new(1), Instant::now());
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 1000 {
            limit.reserve(IpAddr::from(number.to_be_bytes()), 1, now).unwrap();
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
    }

    #[test]
    fn a_whole_ipv6_network_is_one_caller() {
        let address = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    }

    #[tokio::test]
    async fn the_admin_socket_and_a_rate_of_zero_are_free() {
        assert!(Limit::new(1).take(None, 1000).await.is_ok());
        assert!(Limit::new(0).take(Some(A), 1000).await.is_ok());
    }
}
