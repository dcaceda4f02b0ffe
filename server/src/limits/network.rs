//! Who counts as one caller.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

/// What one site has of the address space: an IPv4 address; of IPv6 a /56, the least that providers give to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address. An IPv4 address counts as itself also where a dual-stack listener shows it as IPv6.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 72 << 72)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Forgets an arbitrary half: no table grows for ever.
pub(super) fn forget_half<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    let mut keep = false;
    table.retain(|_, _| {
        keep = !keep;
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn a_site_is_one_caller_whatever_addresses_it_takes() {
        assert_ne!(network("2001:db8:0:a0::1"), network("2001:db8:0:aff::1"));
        assert_eq!(network("2001:db8:0:a00::1"), network("2001:db8:0:aff:ffff::1"));
        assert_ne!(network("2001:db8:0:a00::1"), network("2001:db8:0:b00::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
