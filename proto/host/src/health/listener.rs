//! Where the health listener listens.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener as BlockingListener, UnixStream as BlockingStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with},
};
use tokio::net::{TcpListener, UnixListener};

/// A unix socket is for the program's user (and root) alone.
const SOCKET_MODE: u32 = 0o600;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why nothing listens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the health listener cannot listen on {address}")]
pub struct BindError {
    /// Where it was to listen.
    pub address: String,
    /// What the system said.
    pub cause: String,
}

/// A bound listener. The file of a unix socket goes when it is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    address: Address,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds. What a dead program left at a path is removed; call within a runtime. The folder of a path must be one
    /// where nobody else may put files.
    ///
    /// # Errors
    /// The address is taken, or not this machine's; the path cannot be made, or somebody listens there.
    pub async fn bind(address: Address) -> Result<Self, BindError> {
        let bound = match &address {
            Address::Tcp(tcp) => TcpListener::bind(tcp).await.map(Socket::Tcp),
            Address::Unix(path) => bind_unix(path).map(Socket::Unix),
        };
        match bound {
            Ok(socket) => Ok(Self { socket, address }),
            Err(error) => Err(BindError {
                address: address.to_string(),
                cause: error.to_string(),
            }),
        }
    }

    /// Where it listens; for port 0, the port that the system gave.
    #[must_use]
    pub fn address(&self) -> Address {
        match &self.socket {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| self.address.clone(), Address::Tcp),
            Socket::Unix(_) => self.address.clone(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            drop(fs::remove_file(path));
        }
    }
}

/// It has its mode before it has a name.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_dead = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && BlockingStream::connect(path).is_err_and(|error| is_dead(&error))
    {
        fs::remove_file(path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(BlockingListener::from(socket))
}
