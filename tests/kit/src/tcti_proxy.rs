//! An interposer between an agent and its TPM: counts the commands, and can misbehave on purpose.

use crate::ports;
use crate::tpm_socket::read_message;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the proxy does with one command.
#[derive(Debug, Clone, Default)]
pub enum Fault {
    /// Passes command and response unchanged.
    #[default]
    None,
    /// Answers with this response code; the TPM never sees the command.
    ResponseCode(u32),
    /// Answers with these bytes; the TPM never sees the command.
    Response(Vec<u8>),
    /// Passes the command, then flips the lowest bit of the response's byte at this offset.
    FlipResponse(usize),
    /// Passes the command, and the response only after this time.
    Delay(Duration),
    /// Cuts the connection.
    Cut,
}

type Rule = Box<dyn FnMut(u32, &[u8]) -> Fault + Send>;

#[derive(Default)]
struct Shared {
    counts: Mutex<BTreeMap<u32, u64>>,
    rule: Mutex<Option<Rule>>,
    stop: AtomicBool,
}

/// A proxy in front of a swtpm. Dropping it closes its ports.
pub struct TctiProxy {
    port: u16,
    shared: Arc<Shared>,
}

impl TctiProxy {
    /// Listens on a free pair of loopback ports for the swtpm on `upstream` and `upstream + 1`.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn start(upstream: u16) -> Result<Self> {
        let port = ports::free_pair()?;
        let shared = Arc::new(Shared::default());
        let data = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let control = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1))?;
        let state = Arc::clone(&shared);
        std::thread::spawn(move || accept(&data, upstream, &state, relay_commands));
        let state = Arc::clone(&shared);
        std::thread::spawn(move || accept(&control, upstream + 1, &state, relay_bytes));
        Ok(Self { port, shared })
    }

    /// The TCTI string that goes through the proxy.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Commands seen so far, by command code.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<u32, u64> {
        self.shared
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Commands seen so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        self.shared
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Sets the rule that decides, by command code and command, what happens to each command.
    pub fn set_rule(&self, rule: impl FnMut(u32, &[u8]) -> Fault + Send + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// Passes everything again.
    pub fn clear_rule(&self) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for TctiProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for port in [self.port, self.port + 1] {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        }
    }
}

fn accept(
    listener: &TcpListener,
    upstream: u16,
    shared: &Arc<Shared>,
    relay: fn(TcpStream, TcpStream, &Shared) -> Result<()>,
) {
    for client in listener.incoming().flatten() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(tpm) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = tpm.set_nodelay(true);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || relay(client, tpm, &shared));
    }
}

fn relay_commands(mut client: TcpStream, mut tpm: TcpStream, shared: &Shared) -> Result<()> {
    loop {
        let command = read_message(&mut client)?;
        let code = command
            .get(6..10)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_be_bytes);
        *shared
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default() += 1;
        let fault = match shared.rule.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(rule) => rule(code, &command),
            None => Fault::None,
        };
        let response = match fault {
            Fault::ResponseCode(rc) => {
                let mut response = vec![0x80, 0x01, 0, 0, 0, 10];
                response.extend(rc.to_be_bytes());
                response
            }
            Fault::Response(bytes) => bytes,
            Fault::Cut => {
                let _ = client.shutdown(Shutdown::Both);
                return Ok(());
            }
            other => {
                tpm.write_all(&command)?;
                let mut response = read_message(&mut tpm)?;
                match other {
                    Fault::FlipResponse(offset) => {
                        if let Some(byte) = response.get_mut(offset) {
                            *byte ^= 1;
                        }
                    }
                    Fault::Delay(time) => std::thread::sleep(time),
                    _ => {}
                }
                response
            }
        };
        client.write_all(&response)?;
    }
}

fn relay_bytes(client: TcpStream, tpm: TcpStream, _: &Shared) -> Result<()> {
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_tpm, mut to_tpm) = (tpm.try_clone()?, tpm);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_tpm);
        let _ = to_tpm.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut from_tpm, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    Ok(())
}
