//! Where machines come from that proved themselves.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Network, network::forget_half};

/// How long a network is known after a machine there was last heard of.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The most networks that are known at a time.
const MAX_NETWORKS: usize = 65_536;

/// Networks from which the last attestation held. It is memory alone: after a restart the agents' connections fill it
/// within seconds.
#[derive(Debug, Default)]
pub struct KnownNetworks(Mutex<HashMap<Network, Instant>>);

impl KnownNetworks {
    /// A machine there attested at `now`, or showed what it has from an attestation.
    pub fn insert(&self, network: Network, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NETWORKS && !known.contains_key(&network) {
            known.retain(|_, seen| is_fresh(*seen, now));
            if known.len() >= MAX_NETWORKS {
                forget_half(&mut known);
            }
        }
        known.insert(network, now);
    }

    /// An attestation from there did not hold.
    pub fn remove(&self, network: Network) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
    }

    /// Whether the last attestation from there held, as of `now`.
    pub fn contains(&self, network: Network, now: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&network).is_some_and(|seen| is_fresh(*seen, now))
    }
}

fn is_fresh(seen: Instant, now: Instant) -> bool {
    now.saturating_duration_since(seen) < LIFETIME
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn a_network_is_known_until_an_attestation_fails_or_a_day_is_over() {
        let (known, now) = (KnownNetworks::default(), Instant::now());
        assert!(!known.contains(network(1), now));
        known.insert(network(1), now);
        known.insert(network(2), now);
        known.remove(network(2));
        assert!(known.contains(network(1), now + LIFETIME / 2) && !known.contains(network(2), now));
        assert!(!known.contains(network(1), now + LIFETIME));
    }

    #[test]
    fn the_table_is_bounded() {
        let (known, now) = (KnownNetworks::default(), Instant::now());
        for number in 0..u32::try_from(MAX_NETWORKS).unwrap() + 1000 {
            known.insert(network(number), now);
            assert!(known.contains(network(number), now));
        }
        assert!(known.0.lock().unwrap().len() <= MAX_NETWORKS);
    }
}
