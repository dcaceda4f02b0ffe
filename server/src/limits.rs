//! What one caller may take: how often, how much at a time, and who goes first where there is not enough for all.
//!
//! Callers are told apart by their network: an IPv4 address, or a /56 of IPv6. A network whose machines proved themselves
//! lately is a known one; some of all room is kept for these.

mod concurrency;
mod known;
mod network;
mod occupancy;
mod rate;
mod too_many;

pub use concurrency::{ConcurrencyLimit, Permit};
pub use known::KnownNetworks;
pub use network::Network;
pub use occupancy::{Occupancy, Occupant};
pub use rate::RateLimit;
pub use too_many::TooManyCalls;

use std::{net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;

use crate::config::LimitSettings;

/// Attestations open at a time, most of which may wait for their machine; each may hold a message before it has a permit.
const MAX_STREAMS: usize = 2048;
/// Calls without an SVID under way at a time, attestations aside.
const MAX_CALLS: usize = 2048;
/// Status reports per second.
const STATUS_REPORTS: u32 = 10;
/// Questions and reports of machines that are installed, per second: a rack's machines share an address.
const PROVISIONING: u32 = 20;

/// Every limit of the server.
#[derive(Debug)]
pub struct Limits {
    /// Attestations begun.
    pub attest: RateLimit,
    /// Status reports.
    pub post_status: RateLimit,
    /// What machines that are installed ask and report.
    pub provisioning: RateLimit,
    /// SVIDs asked for; each item of a batch counts.
    pub signing: RateLimit,
    /// Connections over TCP, those in their handshake included.
    pub connections: Arc<Occupancy>,
    /// Attestations that are open.
    pub streams: Arc<Occupancy>,
    /// Calls without an SVID, attestations aside.
    pub calls: Arc<Occupancy>,
    /// Attestations that the server works on; one that waits for its machine takes none.
    pub attestations: ArcSwap<ConcurrencyLimit>,
    /// Where machines come from that proved themselves.
    pub known: KnownNetworks,
}

impl Limits {
    /// Limits as configured.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let limits = Self {
            attest: RateLimit::new(0),
            post_status: RateLimit::new(STATUS_REPORTS),
            provisioning: RateLimit::new(PROVISIONING),
            signing: RateLimit::new(0),
            connections: Arc::default(),
            streams: Arc::default(),
            calls: Arc::default(),
            attestations: ArcSwap::from_pointee(ConcurrencyLimit::new(settings.concurrent_attestations)),
            known: KnownNetworks::default(),
        };
        limits.set(settings);
        limits
    }

    /// Limits as configured now. Who has room keeps it.
    pub fn set(&self, settings: LimitSettings) {
        self.attest.set(settings.attestations_per_second_per_ip);
        self.signing.set(settings.signing_per_second_per_ip);
        // Each connection is a file.
        let files = open_files().map_or(usize::MAX, |files| files / 2);
        let connections = settings.connections.min(files.max(1));
        self.connections.set(connections, settings.connections_per_ip);
        let streams = MAX_STREAMS.max(settings.concurrent_attestations);
        self.streams.set(streams, settings.connections_per_ip);
        self.calls.set(MAX_CALLS, settings.connections_per_ip);
        if self.attestations.load().count() != settings.concurrent_attestations {
            let limit = ConcurrencyLimit::new(settings.concurrent_attestations);
            self.attestations.store(Arc::new(limit));
        }
    }

    /// Where a caller comes from, and whether machines from there proved themselves lately.
    #[must_use]
    pub fn origin(&self, address: IpAddr) -> (Network, bool) {
        let network = Network::of(address);
        (network, self.known.contains(network, Instant::now()))
    }
}

/// How many files this process may have open.
fn open_files() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    usize::try_from(limit).ok()
}

/// Of all room, what is kept for known networks.
const fn reserve(of: usize) -> usize {
    of / 4
}
