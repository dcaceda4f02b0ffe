//! Why this machine was not installed.

use hallmark_node::DiskImageError;
use hallmark_reason::{Coded, ReasonCode};

use crate::AgentError;

/// Why an attempt to install this machine ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProvisionError {
    /// The assignment's address is not one that is fetched from.
    #[error("the image's address cannot be used")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The image server gives no good answer.
    #[error("{url} cannot be fetched")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the system, or the server, said last.
        detail: String,
    },
    /// The image server's certificate leads to none of the authorities.
    #[error("the certificate of the image server {server} is not trusted")]
    UntrustedServer {
        /// `host:port`.
        server: String,
        /// What the check said.
        detail: String,
    },
    /// The certificates of signers cannot be used.
    #[error("the certificates of image signers in {folder} cannot be used")]
    Signers {
        /// The folder.
        folder: String,
        /// What is wrong.
        detail: String,
    },
    /// No signer's key made the signature.
    #[error("no certificate in {folder} has signed the image's manifest")]
    NotSigned {
        /// The folder.
        folder: String,
        /// How many were tried.
        signers: usize,
    },
    /// A signed manifest, and not the one that was assigned.
    #[error("{url} is not the manifest that was assigned to this machine")]
    OtherManifest {
        /// Where it was fetched from.
        url: String,
        /// Its SHA-256 as assigned.
        assigned: String,
        /// Its SHA-256.
        found: String,
    },
    /// Signed and assigned, and not a manifest.
    #[error(transparent)]
    Manifest(#[from] DiskImageError),
    /// Another content than the manifest names.
    #[error("{url} is not the chunk that the manifest names")]
    OtherChunk {
        /// Where it was fetched from.
        url: String,
        /// SHA-256 and length as the manifest has them, and as they were found.
        detail: String,
    },
    /// There is no disk to be written, or more than one.
    #[error("it is not clear which disk is to be written")]
    NoSuchDisk {
        /// Which disks there are.
        detail: String,
        /// Whether it may come: controllers take their time.
        may_come: bool,
    },
    /// The disk is smaller than the image.
    #[error("the disk {disk} is too small for the image")]
    DiskTooSmall {
        /// The disk.
        disk: String,
        /// Octets of the image.
        needed: u64,
        /// Octets of the disk.
        found: u64,
    },
    /// The image's partition table would not be found on it.
    #[error("the disk {disk} has sectors of another size than the image is made for")]
    OtherSectors {
        /// The disk.
        disk: String,
        /// Octets of its sectors.
        found: String,
    },
    /// What was installed is not on the disk.
    #[error("the server has this machine as installed, and its disk {disk} does not start")]
    NotInstalled {
        /// The disk.
        disk: String,
    },
    /// The image server sends the machine elsewhere.
    #[error("{url} is answered by a redirect that is not followed")]
    Redirected {
        /// What was asked for.
        url: String,
        /// Where the redirect leads, and what is wrong with that.
        detail: String,
    },
    /// The image server gives another form of the file than the file.
    #[error("{url} is answered in an encoding that was not asked for")]
    Encoded {
        /// What was asked for.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// Another process installs this machine.
    #[error("another hallmark-agent provision is at work on this machine")]
    Runs {
        /// The file that it has locked.
        lock: String,
    },
    /// Something is on the disk.
    #[error("the disk {disk} is not blank, and the assignment does not allow to overwrite it")]
    NotBlank {
        /// The disk.
        disk: String,
        /// What was found there.
        found: String,
    },
    /// The disk cannot be opened, read or written.
    #[error("the disk {disk} cannot be {what}")]
    Disk {
        /// The disk.
        disk: String,
        /// opened, read, written.
        what: &'static str,
        /// Where, and what the system said.
        detail: String,
    },
    /// The disk gives something else back than was written.
    #[error("the disk {disk} does not hold what was written to it")]
    NotHeld {
        /// The disk.
        disk: String,
        /// Where.
        detail: String,
    },
    /// The image has no partition that the firmware can start.
    #[error("the image has no EFI system partition")]
    NoBootPartition {
        /// What was looked at.
        detail: String,
    },
    /// The firmware's variables cannot be read or written.
    #[error("the firmware's boot entry cannot be set")]
    BootEntry {
        /// Which variable, and what the system said.
        detail: String,
    },
    /// Two disks of the machine have the same partition.
    #[error("another disk of this machine, {other}, has the partition that the firmware is to start from {disk}")]
    SamePartition {
        /// The disk that is to be written.
        disk: String,
        /// The other.
        other: String,
    },
    /// The server has another assignment for this machine by now, or none.
    #[error("the server no longer takes reports of this attempt")]
    Superseded {
        /// The server's words.
        message: String,
    },
    /// The agent's own failure on the way to the server.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl Coded for ProvisionError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Address { .. } => ReasonCode::new("HM-AGENT-0036"),
            Self::Unreachable { .. } => ReasonCode::new("HM-AGENT-0037"),
            Self::UntrustedServer { .. } => ReasonCode::new("HM-AGENT-0038"),
            Self::Signers { .. } => ReasonCode::new("HM-AGENT-0039"),
            Self::NotSigned { .. } => ReasonCode::new("HM-AGENT-0040"),
            Self::OtherManifest { .. } => ReasonCode::new("HM-AGENT-0041"),
            Self::OtherChunk { .. } => ReasonCode::new("HM-AGENT-0042"),
            Self::NoSuchDisk { .. } => ReasonCode::new("HM-AGENT-0043"),
            Self::DiskTooSmall { .. } => ReasonCode::new("HM-AGENT-0044"),
            Self::NotBlank { .. } => ReasonCode::new("HM-AGENT-0045"),
            Self::Disk { .. } => ReasonCode::new("HM-AGENT-0046"),
            Self::NotHeld { .. } => ReasonCode::new("HM-AGENT-0047"),
            Self::NoBootPartition { .. } => ReasonCode::new("HM-AGENT-0048"),
            Self::BootEntry { .. } => ReasonCode::new("HM-AGENT-0049"),
            Self::Superseded { .. } => ReasonCode::new("HM-AGENT-0050"),
            Self::OtherSectors { .. } => ReasonCode::new("HM-AGENT-0051"),
            Self::SamePartition { .. } => ReasonCode::new("HM-AGENT-0052"),
            Self::NotInstalled { .. } => ReasonCode::new("HM-AGENT-0053"),
            Self::Redirected { .. } => ReasonCode::new("HM-AGENT-0054"),
            Self::Encoded { .. } => ReasonCode::new("HM-AGENT-0055"),
            Self::Runs { .. } => ReasonCode::new("HM-AGENT-0056"),
            Self::Manifest(error) => error.code(),
            Self::Agent(error) => error.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Manifest(error) => Some(error),
            Self::Agent(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::Address { url, detail } => format!("{url}: {detail}"),
            Self::Unreachable { detail, .. }
            | Self::UntrustedServer { detail, .. }
            | Self::Signers { detail, .. }
            | Self::OtherChunk { detail, .. }
            | Self::NoSuchDisk { detail, .. }
            | Self::Redirected { detail, .. }
            | Self::Disk { detail, .. }
            | Self::NotHeld { detail, .. }
            | Self::NoBootPartition { detail }
            | Self::BootEntry { detail } => detail.clone(),
            Self::NotSigned { signers, .. } => format!("{signers} certificates were tried"),
            Self::OtherManifest { assigned, found, .. } => {
                format!("SHA-256 assigned {assigned}, found {found}")
            }
            Self::DiskTooSmall { needed, found, .. } => format!("the image has {needed} octets, the disk {found}"),
            Self::OtherSectors { found, .. } => format!("the image is made for 512 octets, the disk has {found}"),
            Self::NotBlank { found, .. } => found.clone(),
            Self::SamePartition { .. } => return None,
            Self::NotInstalled { disk } => format!("expected an EFI system partition on {disk}, found none"),
            Self::Encoded { encoding, .. } => format!("expected the file as it is, found Content-Encoding: {encoding}"),
            Self::Runs { lock } => format!("{lock} is locked"),
            Self::Superseded { message } => format!("the server says: {message}"),
            Self::Manifest(_) | Self::Agent(_) => return self.inner()?.compared(),
        })
    }
}
