//! What was found.

use std::collections::BTreeMap;

use hallmark_reason::Coded;
use serde::Serialize;

use crate::boot::{BootFacts, LoggedEvent, PcrComparison};

/// One check of kept evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked: `ak`, `quote`, `qualification`, `banks`, `registers`, `boot-log`, `ima`, `ek-certificate`.
    pub name: &'static str,
    /// Whether it holds; `None` if the file has nothing to check it by.
    pub holds: Option<bool>,
    /// The code of the fault, if it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was found, in words.
    pub text: String,
    /// Expected and actual value, if it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
    /// The likely cause, if it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_cause: Option<String>,
    /// What to do next, if it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

impl Check {
    pub(super) fn holds(name: &'static str, text: impl Into<String>) -> Self {
        Self::of(name, Some(true), text.into())
    }

    pub(super) fn not_shown(name: &'static str, text: impl Into<String>) -> Self {
        Self::of(name, None, text.into())
    }

    pub(super) fn refused(name: &'static str, error: &(impl Coded + ?Sized)) -> Self {
        Self {
            code: Some(error.code().to_string()),
            compared: error.compared(),
            likely_cause: error.likely_cause(),
            next_step: error.next_step(),
            ..Self::of(name, Some(false), error.to_string())
        }
    }

    fn of(name: &'static str, holds: Option<bool>, text: String) -> Self {
        Self {
            name,
            holds,
            code: None,
            text,
            compared: None,
            likely_cause: None,
            next_step: None,
        }
    }
}

/// The quote's own words. They are proven if the checks `quote` and `qualification` hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuoteReport {
    /// Name of the signing key, as the TPM qualifies it, hex.
    pub qualified_signer: String,
    /// `extraData`, hex.
    pub qualification: String,
    /// Milliseconds that the TPM has been powered.
    pub clock: u64,
    /// Reboots of the machine.
    pub reset_count: u32,
    /// Resumes since the last reboot.
    pub restart_count: u32,
    /// Whether no greater clock was ever reported.
    pub safe: bool,
    /// The TPM's firmware version, hex.
    pub firmware_version: String,
    /// The quoted registers, by bank.
    pub selection: BTreeMap<String, Vec<u8>>,
    /// The digest over them, hex.
    pub pcr_digest: String,
}

/// What the IMA list says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImaReport {
    /// All lines of the list.
    pub lines: u64,
    /// How many of them the quote proves.
    pub proven_lines: u64,
    /// Violations among the proven lines.
    pub violations: u64,
    /// Whether the first line fits the quoted registers: `matches`, `differs`, `not-quoted` or `absent`.
    pub boot_aggregate: String,
}

/// Everything that was found in kept evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfflineReport {
    /// `verified` or `refused`.
    pub verdict: &'static str,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// The attestation key's Name, hex; `None` if only its SPKI was kept.
    pub ak_name: Option<String>,
    /// SHA-256 of the attestation key's SPKI, hex.
    pub ak_sha256: Option<String>,
    /// The quote's words.
    pub quote: Option<QuoteReport>,
    /// Every quoted register: quoted, replayed, and where they part.
    pub pcrs: Vec<PcrComparison>,
    /// Every event of both boot logs.
    pub events: Vec<LoggedEvent>,
    /// The IMA list.
    pub ima: Option<ImaReport>,
    /// What is proven of the boot; `None` unless the boot log holds.
    pub facts: Option<BootFacts>,
}

impl OfflineReport {
    /// Whether no check failed.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.checks.iter().all(|check| check.holds != Some(false))
    }

    /// The first check that failed.
    #[must_use]
    pub fn refusal(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.holds == Some(false))
    }
}
