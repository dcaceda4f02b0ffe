//! Why the Workload API cannot listen.

use std::path::{Path, PathBuf};

use hallmark_reason::{Coded, ReasonCode};

use crate::socket_path::SocketPathError;

/// Why the Workload API cannot listen on its socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens on the path already.
    #[error("the socket path {} is taken: another program listens there", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket is at the path.
    #[error("{} is in the way: it is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path is relative, too long, or no unix socket at all.
    #[error(transparent)]
    Path(#[from] SocketPathError),
    /// Others could put a socket of their own in the place of the agent's.
    #[error("others can replace {}", path.display())]
    Exposed {
        /// The path.
        path: PathBuf,
        /// The folder or link that lets them.
        place: PathBuf,
        /// Who they are.
        why: String,
    },
    /// What the service manager handed over is not the socket that is meant.
    #[error("the service manager's socket for {} cannot be used", path.display())]
    Handed {
        /// The path of the configuration.
        path: PathBuf,
        /// What is wrong with the socket.
        why: String,
    },
    /// The filesystem refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Filesystem {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl ListenError {
    pub(super) fn handed(path: &Path, why: impl ToString) -> Self {
        Self::Handed {
            path: path.into(),
            why: why.to_string(),
        }
    }
}

impl Coded for ListenError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Taken { .. } => ReasonCode::new("HM-WL-0020"),
            Self::NotASocket { .. } => ReasonCode::new("HM-WL-0021"),
            Self::Path(error) => error.code(),
            Self::Filesystem { .. } => ReasonCode::new("HM-WL-0023"),
            Self::Exposed { .. } => ReasonCode::new("HM-WL-0024"),
            Self::Handed { .. } => ReasonCode::new("HM-WL-0025"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Path(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Path(error) => error.compared(),
            Self::Handed { path, why } => Some(format!("wanted: a socket that listens at {}; {why}", path.display())),
            Self::Exposed { place, why, .. } => Some(format!("{}: {why}", place.display())),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Taken { path } => format!("ss -xlp src {}; stop it, or choose another path", path.display()),
            Self::NotASocket { path } => format!("ls -l {} and choose another path", path.display()),
            Self::Exposed { path, .. } => {
                format!(
                    "namei -l {}; choose a folder of root's such as /run/hallmark-agent",
                    path.display()
                )
            }
            Self::Filesystem { path, .. } => format!("ls -ld {}", path.display()),
            Self::Path(_) | Self::Handed { .. } => return None,
        })
    }
}
