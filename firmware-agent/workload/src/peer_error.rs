//! Why a caller could not be told apart.

use hallmark_reason::{Coded, ReasonCode};
use rustix::io::Errno;

/// Why the process behind a connection could not be pinned or attested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The process that opened the connection has ended.
    #[error("the process {pid} that opened the connection is gone")]
    Gone {
        /// Its process id at the time of connecting.
        pid: i32,
    },
    /// The kernel shows no process id for the peer.
    #[error("the caller is outside the process id namespace of this agent")]
    OutsideNamespace,
    /// The process no longer has the credentials it had when it connected.
    #[error("the credentials of process {pid} changed after it connected")]
    CredentialsChanged {
        /// The process id.
        pid: i32,
        /// `uid:gid` when the connection was opened.
        connected: String,
        /// `uid:gid` now.
        now: String,
    },
    /// Something under `/proc` could not be read or understood.
    #[error("{what} of process {pid} cannot be read: {reason}")]
    Facts {
        /// The process id.
        pid: i32,
        /// Which fact.
        what: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The binary was not read in time.
    #[error("the binary of process {pid} was not read in time")]
    Unread {
        /// The process id.
        pid: i32,
        /// How long the agent waited, in seconds.
        waited: u64,
    },
    /// Another process wrote to the connection.
    #[error("process {sender} wrote to the connection of process {pid}")]
    ForeignSender {
        /// The process that opened the connection.
        pid: i32,
        /// Who wrote; "an unknown one" where the kernel does not tell.
        sender: String,
    },
    /// The process did not answer after its binary was read.
    #[error("process {pid} did not acknowledge a PING after its binary was read")]
    Unacknowledged {
        /// The process id.
        pid: i32,
        /// How long it had, in seconds.
        waited: u64,
    },
    /// The process runs another binary than before.
    #[error("process {pid} runs another binary than when it connected")]
    BinaryChanged {
        /// The process id.
        pid: i32,
    },
    /// The process is in a user namespace of its own.
    #[error("process {pid} is in another user namespace than the agent")]
    UserNamespace {
        /// The process id.
        pid: i32,
        /// Its namespace.
        theirs: String,
        /// The agent's.
        ours: String,
    },
    /// A system call on the socket or the pidfd failed.
    #[error("{call} failed: {errno}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl Coded for PeerError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Gone { .. } => ReasonCode::new("HM-WL-0001"),
            Self::OutsideNamespace => ReasonCode::new("HM-WL-0002"),
            Self::CredentialsChanged { .. } => ReasonCode::new("HM-WL-0003"),
            Self::Facts { .. } => ReasonCode::new("HM-WL-0004"),
            Self::System { .. } => ReasonCode::new("HM-WL-0005"),
            Self::ForeignSender { .. } => ReasonCode::new("HM-WL-0006"),
            Self::Unacknowledged { .. } => ReasonCode::new("HM-WL-0007"),
            Self::BinaryChanged { .. } => ReasonCode::new("HM-WL-0008"),
            Self::UserNamespace { .. } => ReasonCode::new("HM-WL-0009"),
            Self::Unread { .. } => ReasonCode::new("HM-WL-0019"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::CredentialsChanged { connected, now, .. } => {
                Some(format!("uid:gid {connected} when connecting, {now} now"))
            }
            Self::ForeignSender { pid, sender } => {
                Some(format!("opened by process {pid}, written to by process {sender}"))
            }
            Self::Unacknowledged { waited, .. } => Some(format!("no answer within {waited} s")),
            Self::Unread { waited, .. } => Some(format!("not read within {waited} s")),
            Self::UserNamespace { theirs, ours, .. } => Some(format!("{theirs}, the agent is in {ours}")),
            _ => None,
        }
    }
}
