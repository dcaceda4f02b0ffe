//! Measurement logs: their place in the evidence. Their contents are replayed elsewhere.

use aws_lc_rs::digest;

use crate::{error::EvidenceError, limits::Limits};

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogKind {
    /// The firmware's event log (TCG PC Client Platform Firmware Profile).
    Tcg,
    /// systemd's user-space measurement log.
    Systemd,
    /// The kernel's IMA list.
    Ima,
}

impl LogKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Tcg, Self::Systemd, Self::Ima];

    /// The number in messages and in the binding.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcg => 1,
            Self::Systemd => 2,
            Self::Ima => 3,
        }
    }

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Systemd => "systemd",
            Self::Ima => "ima",
        }
    }

    /// Whether the binding covers it, so that it is read before the quote. The IMA list is read behind it: what the
    /// kernel measured meanwhile stands behind the lines that the quoted register proves, and is not believed.
    #[must_use]
    pub const fn is_bound(self) -> bool {
        !matches!(self, Self::Ima)
    }

    /// The most bytes of it that one attestation brings.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Tcg | Self::Systemd => Limits::BOOT_LOG,
            Self::Ima => Limits::IMA_LIST,
        }
    }

    /// The most bytes of it that are kept of one boot.
    #[must_use]
    pub const fn kept_limit(self) -> usize {
        match self {
            Self::Tcg | Self::Systemd => Limits::BOOT_LOG,
            Self::Ima => Limits::KEPT_LOG,
        }
    }

    /// The kind of a name in reports.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind of a message's number.
    ///
    /// # Errors
    /// The number names no kind: the sender is newer, or faulty.
    pub fn from_number(value: i32) -> Result<Self, EvidenceError> {
        Self::ALL
            .into_iter()
            .find(|kind| i32::from(kind.number()) == value)
            .ok_or(EvidenceError::UnknownLog { value })
    }
}

/// A log, or its part from `offset` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which log.
    pub kind: LogKind,
    /// Where `data` begins in the whole log, in bytes.
    pub offset: u64,
    /// The bytes as the kernel gave them.
    pub data: Vec<u8>,
}

impl Log {
    /// A log within the limits.
    ///
    /// # Errors
    /// The data is over its limit.
    pub fn new(kind: LogKind, offset: u64, data: Vec<u8>) -> Result<Self, EvidenceError> {
        Limits::check("log", data.len(), kind.limit())?;
        Ok(Self { kind, offset, data })
    }

    /// A whole log that was kept: longer than one attestation brings.
    ///
    /// # Errors
    /// The data is over its limit.
    pub fn whole(kind: LogKind, data: Vec<u8>) -> Result<Self, EvidenceError> {
        Limits::check("log", data.len(), Limits::KEPT_LOG)?;
        Ok(Self { kind, offset: 0, data })
    }

    /// What stands for this log in the proof and in the binding.
    #[must_use]
    pub fn digest(&self) -> LogDigest {
        let mut sha256 = [0_u8; 32];
        for (slot, byte) in sha256
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, &self.data).as_ref())
        {
            *slot = *byte;
        }
        LogDigest {
            kind: self.kind,
            offset: self.offset,
            length: u64::try_from(self.data.len()).unwrap_or(u64::MAX),
            sha256,
        }
    }
}

/// A log as a proof announces it: kind, offset, length and SHA-256. The bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogDigest {
    /// Which log.
    pub kind: LogKind,
    /// Where the digested bytes begin in the whole log.
    pub offset: u64,
    /// How many bytes follow.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}
