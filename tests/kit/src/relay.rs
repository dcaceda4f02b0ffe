//! A TCP relay between an agent and its server, which can keep what it is given.

use anyhow::Result;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    waiting: usize,
    is_stopped: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Passes connections on to a server on loopback. Dropping it closes its port.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

impl Relay {
    /// Listens on a free loopback port for a server at `upstream` (host:port).
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let (state, upstream) = (Arc::clone(&shared), upstream.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.lock().is_stopped {
                    return;
                }
                let (state, upstream) = (Arc::clone(&state), upstream.clone());
                thread::spawn(move || {
                    if state.pass() {
                        let _ = relay(&client, &upstream);
                    }
                });
            }
        });
        Ok(Self { port, shared })
    }

    /// Its address, host:port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on new connections are taken, and nothing that is sent over them arrives. Those that are open go on.
    pub fn hold_new(&self) {
        self.shared.lock().is_held = true;
    }

    /// How many connections are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.lock().waiting
    }

    /// Passes on what was held, and everything from now on.
    pub fn release(&self) {
        self.shared.lock().is_held = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.changed.notify_all();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while connections are held; whether this one is passed on then.
    fn pass(&self) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        let held = |state: &mut State| state.is_held && !state.is_stopped;
        state = self
            .changed
            .wait_while(state, held)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        !state.is_stopped
    }
}

/// Both directions, until one side ends them.
fn relay(client: &TcpStream, upstream: &str) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let there = thread::spawn(move || copy(&from_client, &to_server));
    copy(&server, client);
    let _ = there.join();
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
