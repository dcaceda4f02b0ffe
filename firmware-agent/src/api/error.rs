//! Why an identity was not fetched, or not written.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};

/// Why an identity was not fetched, not written, or not taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApiError {
    /// The address is no unix socket.
    #[error("{given:?} is not an address of a Workload API")]
    Address {
        /// What was given.
        given: String,
        /// Where.
        by: &'static str,
    },
    /// Nobody answers there.
    #[error("the Workload API at {} cannot be reached", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The agent has no identity for this process.
    #[error("the agent has no identity for this process: {message}")]
    Denied {
        /// The agent's words, with its reason code.
        message: String,
    },
    /// The agent cannot answer now.
    #[error("the agent cannot answer now: {message}")]
    NotNow {
        /// The agent's words, with its reason code.
        message: String,
    },
    /// What came is no identity.
    #[error("the agent's answer cannot be used: {what}")]
    Unusable {
        /// What is wrong with it.
        what: String,
    },
    /// The agent does not believe the token.
    #[error("the token is refused: {message}")]
    Rejected {
        /// The agent's words, with its reason code.
        message: String,
    },
    /// The agent cannot do anything with what was asked.
    #[error("the agent refuses the request: {message}")]
    Request {
        /// The agent's words, with its reason code.
        message: String,
    },
    /// The folder cannot be written.
    #[error("cannot {action} {}", path.display())]
    Filesystem {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// Others could put files of their own into the folder.
    #[error("others can change what is in {}", folder.display())]
    Exposed {
        /// The folder.
        folder: PathBuf,
        /// Who, and where.
        why: String,
    },
    /// Something is in the way that was not written by this command.
    #[error("{} is in the way", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// Another process writes there.
    #[error("another process writes into {}", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The command that takes up what was written failed.
    #[error("the command after the change failed: {command}")]
    Hook {
        /// The command.
        command: String,
        /// How it ended.
        detail: String,
        /// When it is tried again, in seconds.
        again: u64,
    },
    /// The SVID that was written has expired.
    #[error("the SVID of {id} has expired, and the agent has no newer one")]
    Expired {
        /// Whose.
        id: String,
        /// When, RFC 3339.
        at: String,
    },
}

impl ApiError {
    /// Whether the next try may go better.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotNow { .. })
    }
}

impl Coded for ApiError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Address { .. } => ReasonCode::new("HM-WL-0030"),
            Self::Unreachable { .. } => ReasonCode::new("HM-WL-0031"),
            Self::Denied { .. } => ReasonCode::new("HM-WL-0032"),
            Self::NotNow { .. } => ReasonCode::new("HM-WL-0033"),
            Self::Unusable { .. } => ReasonCode::new("HM-WL-0034"),
            Self::Filesystem { .. } => ReasonCode::new("HM-WL-0035"),
            Self::Exposed { .. } => ReasonCode::new("HM-WL-0036"),
            Self::InTheWay { .. } => ReasonCode::new("HM-WL-0037"),
            Self::Locked { .. } => ReasonCode::new("HM-WL-0038"),
            Self::Hook { .. } => ReasonCode::new("HM-WL-0039"),
            Self::Expired { .. } => ReasonCode::new("HM-WL-0040"),
            Self::Rejected { .. } => ReasonCode::new("HM-WL-0041"),
            Self::Request { .. } => ReasonCode::new("HM-WL-0042"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Address { given, by } => Some(format!("{by} is {given:?}, a unix socket is unix:///path")),
            Self::Unreachable { detail, .. } | Self::Filesystem { detail, .. } => Some(detail.clone()),
            Self::Exposed { why, .. } => Some(why.clone()),
            Self::Hook { detail, again, .. } => Some(format!("{detail}; tried again in {again} s")),
            Self::Expired { at, .. } => Some(format!("expired at {at}")),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { socket, .. } => {
                format!("ls -l {}; systemctl status hallmark-agent", socket.display())
            }
            Self::Filesystem { path, .. } => format!("ls -ld {}; df", path.display()),
            Self::Exposed { folder, .. } => {
                format!("namei -l {}; give it to this user with mode 0755", folder.display())
            }
            Self::InTheWay { path } => format!("mv {} elsewhere, or choose another folder", path.display()),
            Self::Hook { command, .. } => format!("sh -c '{command}'"),
            _ => return None,
        })
    }
}
