//! Events as they are shown.

use std::collections::BTreeMap;

use hallmark_evidence::{
    systemd::SystemdLog,
    tcg::{Authentication, TcgLog},
};
use hallmark_evidence::{systemd::SystemdRecord, tcg::TcgEvent};
use hallmark_tpm_wire::HashAlg;
use serde::{Deserialize, Serialize};

use super::facts::{BootEvent, EventAuthentication};

/// An event of a boot log with all its digests, for reports. No decision reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// `tcg` or `systemd`.
    pub log: String,
    /// Its place in that log, from 0.
    pub number: u32,
    /// The register.
    pub pcr: u32,
    /// The type that the log claims.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its digests by bank, hex.
    pub digests: BTreeMap<String, String>,
    /// What the log says, on one line.
    pub description: String,
    /// `by-digest`, `by-derived-digest`, `external` or `none`: what the digests say of the event's data.
    pub authentication: String,
    /// Whether the data is proven once the digests are.
    pub authenticated: bool,
}

impl From<&TcgEvent<'_>> for LoggedEvent {
    fn from(event: &TcgEvent<'_>) -> Self {
        let (description, authentication) = event.described();
        let digests = event
            .digests
            .iter()
            .map(|(bank, digest)| (bank.to_string(), hex::encode(digest)));
        Self {
            log: "tcg".to_owned(),
            number: event.number,
            pcr: event.pcr,
            kind: event.kind.to_string(),
            digests: digests.collect(),
            description,
            authentication: authentication.as_str().to_owned(),
            authenticated: authentication.is_proven(),
        }
    }
}

impl From<&SystemdRecord> for LoggedEvent {
    fn from(record: &SystemdRecord) -> Self {
        let digests = record
            .digests
            .iter()
            .map(|(bank, digest)| (bank.to_string(), hex::encode(digest)));
        let spell = |c: char| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                c.to_string()
            }
        };
        let proven = record.is_proven();
        Self {
            log: "systemd".to_owned(),
            number: record.number,
            pcr: u32::from(record.pcr),
            kind: record.kind.chars().map(spell).collect(),
            digests: digests.collect(),
            description: record.text.chars().map(spell).take(200).collect(),
            authentication: if proven { "by-digest" } else { "external" }.to_owned(),
            authenticated: proven,
        }
    }
}

/// Every measured event of both logs in the short form; the records of systemd's log are counted behind the firmware's
/// events.
pub(super) fn short(tcg: &TcgLog<'_>, systemd: Option<&SystemdLog>) -> Vec<BootEvent> {
    let firmware = tcg.events().iter().filter_map(|event| {
        let (text, authentication) = event.described();
        Some(BootEvent {
            number: event.number,
            pcr: u8::try_from(event.pcr).ok()?,
            kind: event.kind.to_string(),
            digest: event.digest(HashAlg::Sha256).map(hex::encode).unwrap_or_default(),
            text,
            authentication: authentication.into(),
        })
    });
    let behind = u32::try_from(tcg.events().len()).unwrap_or(u32::MAX);
    let user_space = systemd.into_iter().flat_map(SystemdLog::records).map(|record| {
        let shown = LoggedEvent::from(record);
        BootEvent {
            number: behind.saturating_add(record.number),
            pcr: record.pcr,
            kind: shown.kind,
            digest: record.digest(HashAlg::Sha256).map(hex::encode).unwrap_or_default(),
            text: shown.description,
            authentication: if record.is_proven() {
                EventAuthentication::ByDigest
            } else {
                EventAuthentication::External
            },
        }
    });
    firmware.chain(user_space).collect()
}

impl From<Authentication> for EventAuthentication {
    fn from(authentication: Authentication) -> Self {
        match authentication {
            Authentication::ByDigest => Self::ByDigest,
            Authentication::ByDerivedDigest => Self::ByDerivedDigest,
            Authentication::External => Self::External,
            Authentication::None => Self::None,
        }
    }
}
