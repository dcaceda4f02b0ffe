//! Raw TPM commands over swtpm's data port: what a machine's firmware does before any agent runs.

use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const ST_NO_SESSIONS: u16 = 0x8001;
const ST_SESSIONS: u16 = 0x8002;
const CC_PCR_EXTEND: u32 = 0x0000_0182;
const CC_SHUTDOWN: u32 = 0x0000_0145;
const ALG_SHA256: u16 = 0x000B;
/// TPM_RS_PW with an empty nonce, no attributes and an empty password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0x00, 0x00, 0x09, 0, 0, 0, 0, 0];

/// A connection to swtpm's data port. swtpm serves one connection at a time.
#[derive(Debug)]
pub struct TpmSocket(TcpStream);

impl TpmSocket {
    /// Connects on loopback.
    ///
    /// # Errors
    /// When nobody listens on the port.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends one command and returns the response, both whole.
    ///
    /// # Errors
    /// When the connection fails or the response's size is absurd.
    pub fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        self.0.write_all(command)?;
        read_message(&mut self.0)
    }

    /// Extends a PCR of the SHA-256 bank.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<()> {
        let mut body = u32::from(pcr).to_be_bytes().to_vec();
        body.extend(9_u32.to_be_bytes());
        body.extend(EMPTY_PASSWORD);
        body.extend(1_u32.to_be_bytes());
        body.extend(ALG_SHA256.to_be_bytes());
        body.extend(digest);
        self.expect_success(ST_SESSIONS, CC_PCR_EXTEND, &body)
    }

    /// TPM2_Shutdown(STATE or CLEAR), without which the next start counts as an attack on the lockout.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn shutdown(&mut self) -> Result<()> {
        self.expect_success(ST_NO_SESSIONS, CC_SHUTDOWN, &0_u16.to_be_bytes())
    }

    fn expect_success(&mut self, tag: u16, code: u32, body: &[u8]) -> Result<()> {
        let size = u32::try_from(body.len() + 10)?;
        let mut command = tag.to_be_bytes().to_vec();
        command.extend(size.to_be_bytes());
        command.extend(code.to_be_bytes());
        command.extend(body);
        let response = self.transact(&command)?;
        match response.get(6..10) {
            Some([0, 0, 0, 0]) => Ok(()),
            other => bail!("TPM command {code:#x} answered {other:02x?}"),
        }
    }
}

/// Reads one TPM message: tag, size, and the rest that the size tells.
pub(crate) fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut header = [0_u8; 10];
    stream.read_exact(&mut header)?;
    let [_, _, a, b, c, d, ..] = header;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    let rest = size
        .checked_sub(10)
        .filter(|rest| *rest <= 8192)
        .context("a TPM message of absurd size")?;
    let mut message = header.to_vec();
    message.resize(10 + rest, 0);
    stream.read_exact(message.get_mut(10..).unwrap_or_default())?;
    Ok(message)
}
