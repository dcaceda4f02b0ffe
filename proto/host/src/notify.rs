//! Word to the service manager (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};

/// Tells the service manager a state such as `READY=1`. Without a service manager nothing happens.
pub fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

/// Tells the service manager that the configuration is being read again; `READY=1` says that this is done. The time lets it
/// tell this reload from one before.
pub fn reloading() {
    notify(&reloading_state());
}

fn reloading_state() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    format!("RELOADING=1\nMONOTONIC_USEC={micros}")
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that reads nothing must not hold up this program.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        assert!(send(OsStr::new("/absent/notify"), "READY=1").is_err());
    }

    #[test]
    fn a_reload_says_when_it_began_by_the_clock_that_never_goes_back() {
        let micros = |state: &str| -> u64 {
            let (first, second) = state.split_once('\n').unwrap();
            assert_eq!(first, "RELOADING=1");
            second.strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap()
        };
        let (one, other) = (micros(&reloading_state()), micros(&reloading_state()));
        assert!(0 < one && one <= other);
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let other = std::time::Duration::from_micros(other).as_secs_f64();
        // The time in which the machine slept does not count; it never is ahead.
        assert!(other <= seconds + 1.0, "{other} {seconds}");
    }
}
