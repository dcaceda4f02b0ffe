//! What keeps the server from starting.

use std::{net::SocketAddr, path::PathBuf};

use hallmark_host::health::BindError;
use hallmark_hsm::HsmError;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_store::StoreError;

use crate::{authority::AuthorityError, config::ConfigError, issue::IssueError};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The X.509 authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The server's own identity was not issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The TCP address cannot be bound.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// Somebody else has a socket's path.
    #[error("the {what} {} is taken", path.display())]
    SocketTaken {
        /// Which socket.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// By whom.
        by: &'static str,
    },
    /// A unix socket cannot be made.
    #[error("the {what} {} cannot be made", path.display())]
    SocketUnusable {
        /// Which socket.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// Others can put a socket of theirs in the place of one of ours.
    #[error("others can replace the {what} {}", path.display())]
    SocketExposed {
        /// Which socket.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Where, and who.
        exposed: String,
    },
    /// The store lies on another machine's disk.
    #[error("the folder {} of the store is on a network file system", path.display())]
    Network {
        /// The folder.
        path: PathBuf,
        /// Which file system.
        kind: &'static str,
    },
    /// Others can put a store of theirs in the place of the server's.
    #[error("others can change what the server keeps in {}", path.display())]
    DataExposed {
        /// The path.
        path: PathBuf,
        /// Where, and who.
        exposed: String,
    },
    /// The data folder cannot be made.
    #[error("the data folder {} cannot be used", path.display())]
    DataFolder {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The health listener.
    #[error(transparent)]
    HealthListener(#[from] BindError),
    /// The server's own key or certificate cannot be made.
    #[error("the server's own identity cannot be made: {cause}")]
    Identity {
        /// What failed.
        cause: String,
    },
    /// A part of the runtime failed: signals, threads, TLS.
    #[error("{what} failed: {cause}")]
    Runtime {
        /// Which part.
        what: &'static str,
        /// What it said.
        cause: String,
    },
}

impl Coded for StartError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Address { .. } => ReasonCode::new("HM-SRV-0001"),
            Self::SocketTaken { .. } => ReasonCode::new("HM-SRV-0002"),
            Self::SocketUnusable { .. } => ReasonCode::new("HM-SRV-0003"),
            Self::DataFolder { .. } => ReasonCode::new("HM-SRV-0004"),
            Self::Identity { .. } => ReasonCode::new("HM-SRV-0005"),
            Self::HealthListener(_) => ReasonCode::new("HM-SRV-0025"),
            Self::Config(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Hsm(error) => error.code(),
            Self::Authority(error) => error.code(),
            Self::Issue(error) => error.code(),
            Self::Runtime { .. } => ReasonCode::new("HM-SRV-0006"),
            Self::SocketExposed { .. } => ReasonCode::new("HM-SRV-0019"),
            Self::DataExposed { .. } => ReasonCode::new("HM-SRV-0018"),
            Self::Network { .. } => ReasonCode::new("HM-SRV-0039"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Config(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Hsm(error) => Some(error),
            Self::Authority(error) => Some(error),
            Self::Issue(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Address { cause, .. } | Self::SocketUnusable { cause, .. } | Self::DataFolder { cause, .. } => {
                Some(cause.clone())
            }
            Self::HealthListener(error) => Some(error.cause.clone()),
            Self::SocketExposed { exposed, .. } | Self::DataExposed { exposed, .. } => Some(exposed.clone()),
            Self::Network { kind, .. } => Some(format!("expected a disk of this machine, found {kind}")),
            Self::SocketTaken { by, .. } => Some(format!("expected nothing or a dead socket, found {by}")),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Address { address, .. } => format!("ss -ltnp 'sport = :{}'", address.port()),
            Self::SocketTaken { path, .. } => format!("ss -lxp src {}; stop the other server", path.display()),
            Self::SocketUnusable { path, .. } | Self::DataFolder { path, .. } => {
                format!("ls -ld {}", path.parent().unwrap_or(path).display())
            }
            Self::SocketExposed { path, .. } => format!(
                "namei -l {}; choose a folder of root's such as /run/hallmark-server",
                path.display()
            ),
            Self::Network { path, .. } => {
                format!(
                    "findmnt --target {}; set data_dir or store.path to a local disk",
                    path.display()
                )
            }
            Self::DataExposed { path, .. } => {
                format!(
                    "namei -l {}; give it to the server's user with mode 0700",
                    path.display()
                )
            }
            _ => return None,
        })
    }
}
