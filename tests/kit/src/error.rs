//! What can go wrong when a lab is laid out.

use hallmark_reason::{Coded, ReasonCode};
use std::path::PathBuf;

/// Why a lab cannot be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A program that the lab starts is not there.
    #[error("program `{0}` was not found")]
    ProgramMissing(String),
    /// A unix socket's path would be longer than the kernel takes (107 bytes).
    #[error("the socket path is too long: {}", .0.display())]
    SocketPathTooLong(PathBuf),
    /// The folder holds something already.
    #[error("the folder {} is not empty", .0.display())]
    FolderNotEmpty(PathBuf),
    /// The user asked it to end before it was up.
    #[error("ended before it was up")]
    Interrupted,
    /// A part ended before it was ready.
    #[error("{name} ended before it was ready: {status}\n{log}")]
    Ended {
        /// Which part.
        name: String,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A part did not become ready in time.
    #[error("{name} was not ready after {seconds} s\n{log}")]
    NotReady {
        /// Which part.
        name: String,
        /// How long the lab waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
}

impl Coded for LabError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::ProgramMissing(_) => ReasonCode::new("HM-LAB-0001"),
            Self::SocketPathTooLong(_) => ReasonCode::new("HM-LAB-0002"),
            Self::FolderNotEmpty(_) => ReasonCode::new("HM-LAB-0003"),
            Self::Ended { .. } => ReasonCode::new("HM-LAB-0004"),
            Self::NotReady { .. } => ReasonCode::new("HM-LAB-0005"),
            Self::Interrupted => ReasonCode::new("HM-LAB-0006"),
        }
    }
}
