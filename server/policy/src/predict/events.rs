//! Events that will be measured, and the registers that they give.

use hallmark_verify::boot::{BootEvent, EventAuthentication};

use super::pe::{Digest, sha256};

/// The type of an event for an image.
pub(super) const IMAGE: &str = "EV_EFI_BOOT_SERVICES_APPLICATION";

/// An event, before it has its place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) pcr: u8,
    kind: &'static str,
    pub(super) digest: Digest,
    pub(super) text: String,
    authentication: EventAuthentication,
}

impl Event {
    /// An event whose digest covers `data`.
    pub(super) fn over(pcr: u8, kind: &'static str, data: &[u8], text: impl Into<String>) -> Self {
        Self {
            pcr,
            kind,
            digest: sha256(data),
            text: text.into(),
            authentication: EventAuthentication::ByDigest,
        }
    }

    /// An event whose digest is that of something else.
    pub(super) fn of(pcr: u8, kind: &'static str, digest: Digest, text: impl Into<String>) -> Self {
        Self {
            pcr,
            kind,
            digest,
            text: text.into(),
            authentication: EventAuthentication::External,
        }
    }

    /// What ends the firmware's part of a register.
    pub(super) fn separator(pcr: u8) -> Self {
        Self::over(pcr, "EV_SEPARATOR", &[0; 4], "separator")
    }

    /// The event at its place in a boot.
    pub(super) fn numbered(&self, number: usize) -> BootEvent {
        BootEvent {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            pcr: self.pcr,
            kind: self.kind.to_owned(),
            digest: hex(&self.digest),
            text: self.text.clone(),
            authentication: self.authentication,
        }
    }
}

/// The value of a register after these events.
pub(super) fn register(events: &[Event]) -> String {
    let extend = |value: Digest, event: &Event| sha256(&[value, event.digest].concat());
    hex(&events.iter().fold(Digest::default(), extend))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
