//! Free loopback ports.

use anyhow::{Context as _, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the kernel's range for outgoing connections, so that none of those takes a chosen port.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port with its successor, both free at this moment (swtpm's TCTI takes a pair).
///
/// # Errors
/// When no pair is free.
pub(crate) fn free_pair() -> Result<u16> {
    let seed = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT / 2 {
        let step = NEXT.fetch_add(2, Ordering::Relaxed);
        let port = FIRST + (seed.wrapping_mul(7).wrapping_add(step) % COUNT) / 2 * 2;
        if is_free(port) && is_free(port + 1) {
            return Ok(port);
        }
    }
    None.context("no free pair of loopback ports")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
