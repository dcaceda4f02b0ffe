//! What verdicts say beside their outcome: what a machine proved, and the rule that refuses it.

use std::sync::Arc;

use hallmark_policy::{Appraisal, Reason};
use hallmark_verify::VerifiedEvidence;
use serde::{Deserialize, Serialize};

use super::sha256;

/// A part of an event that has a type. Records from before that type have it as JSON, and keep it so: their bytes, and with
/// them the chain hashes, stay what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPart<T> {
    /// Typed.
    Typed(Arc<T>),
    /// As JSON: a record from before the type.
    Json(String),
}

impl<T> From<T> for EventPart<T> {
    fn from(part: T) -> Self {
        Self::Typed(Arc::new(part))
    }
}

impl<T: Serialize> EventPart<T> {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Typed(part) => json(part.as_ref()),
            Self::Json(json) => json.clone(),
        }
    }
}

/// What the last accepted attestation of a node proved, and the SVID that followed: for people, no decision reads it. In
/// JSON, bytes are lower-case hex.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AttestedFacts {
    /// SHA-256 of the EK's SPKI.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "hex::serde")]
    pub ek_sha256: Vec<u8>,
    /// The EK's Name.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "hex::serde")]
    pub ek_name: Vec<u8>,
    /// Issuer of the EK certificate; empty without one.
    #[prost(string, tag = "3")]
    pub ek_issuer: String,
    /// Serial number of the EK certificate, in hex.
    #[prost(string, tag = "4")]
    pub ek_serial: String,
    /// End of the EK certificate, in Unix seconds; 0 without one.
    #[prost(int64, tag = "5")]
    pub ek_not_after: i64,
    /// `certificate` or `inventory`.
    #[prost(string, tag = "6")]
    pub enrolled_by: String,
    /// Manufacturer, of the EK certificate.
    #[prost(string, tag = "7")]
    pub manufacturer: String,
    /// Model, of the EK certificate.
    #[prost(string, tag = "8")]
    pub model: String,
    /// Firmware version, of the quote, in hex.
    #[prost(string, tag = "9")]
    pub firmware_version: String,
    /// Class of the TPM.
    #[prost(string, tag = "10")]
    pub class: String,
    /// The AK's Name.
    #[prost(bytes = "vec", tag = "11")]
    #[serde(with = "hex::serde")]
    pub ak_name: Vec<u8>,
    /// Whether the AK activated a credential this time.
    #[prost(bool, tag = "12")]
    pub ak_activated: bool,
    /// SHA-256 of the SVID key's SPKI.
    #[prost(bytes = "vec", tag = "13")]
    #[serde(with = "hex::serde")]
    pub svid_key_sha256: Vec<u8>,
    /// The challenge's nonce.
    #[prost(bytes = "vec", tag = "14")]
    #[serde(with = "hex::serde")]
    pub nonce: Vec<u8>,
    /// What certification and quote were bound to.
    #[prost(bytes = "vec", tag = "15")]
    #[serde(with = "hex::serde")]
    pub binding: Vec<u8>,
    /// What was quoted.
    #[prost(message, repeated, tag = "16")]
    pub pcrs: Vec<PcrFact>,
    /// The TPM's clock, in milliseconds.
    #[prost(uint64, tag = "17")]
    pub clock: u64,
    /// TPM resets.
    #[prost(uint32, tag = "18")]
    pub reset_count: u32,
    /// TPM restarts since the reset.
    #[prost(uint32, tag = "19")]
    pub restart_count: u32,
    /// `trusted` or `refused`.
    #[prost(string, tag = "20")]
    pub verdict: String,
    /// Why, in order.
    #[prost(message, repeated, tag = "21")]
    pub reasons: Vec<ReasonFact>,
    /// The SVID's serial number, in hex; empty when none followed.
    #[prost(string, tag = "22")]
    pub svid_serial: String,
    /// The SVID's `notAfter`, in Unix seconds.
    #[prost(int64, tag = "23")]
    pub svid_not_after: i64,
    /// Label of the token key that signed.
    #[prost(string, tag = "24")]
    pub authority_key_label: String,
}

/// One quoted register.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct PcrFact {
    /// The bank, as `sha256`.
    #[prost(string, tag = "1")]
    pub bank: String,
    /// The register.
    #[prost(uint32, tag = "2")]
    pub pcr: u32,
    /// Its value.
    #[prost(bytes = "vec", tag = "3")]
    #[serde(with = "hex::serde")]
    pub digest: Vec<u8>,
}

/// One reason of a verdict.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct ReasonFact {
    /// Its code.
    #[prost(string, tag = "1")]
    pub code: String,
    /// Its sentence.
    #[prost(string, tag = "2")]
    pub text: String,
}

impl AttestedFacts {
    /// What `appraisal` rests on.
    #[must_use]
    pub fn of(appraisal: &Appraisal) -> Self {
        let evidence = appraisal.evidence();
        let reason = |reason: &Reason| ReasonFact {
            code: reason.code.to_string(),
            text: reason.text.clone(),
        };
        let mut facts = Self {
            verdict: if appraisal.is_trusted() { "trusted" } else { "refused" }.to_owned(),
            reasons: appraisal.reasons().iter().map(reason).collect(),
            ..Self::of_evidence(evidence)
        };
        if let Some(certificate) = evidence.certificate() {
            facts.ek_issuer.clone_from(&certificate.issuer);
            facts.ek_serial.clone_from(&certificate.serial);
            facts.ek_not_after = certificate.not_after;
            facts.manufacturer = certificate.attributes.manufacturer.to_string();
            facts.model = certificate.attributes.model.to_string();
        }
        facts
    }

    fn of_evidence(evidence: &VerifiedEvidence) -> Self {
        let clock = evidence.clock_info();
        let pcrs = evidence.pcrs().iter().map(|(bank, pcr, digest)| PcrFact {
            bank: bank.to_string(),
            pcr: u32::from(pcr),
            digest: digest.to_vec(),
        });
        Self {
            ek_sha256: evidence.ek_sha256().to_vec(),
            ek_name: evidence.ek_name().as_bytes().to_vec(),
            enrolled_by: evidence.enrolled_by().as_str().to_owned(),
            firmware_version: format!("{:016x}", evidence.firmware_version()),
            class: evidence.class().to_string(),
            ak_name: evidence.ak_name().as_bytes().to_vec(),
            ak_activated: evidence.ak_activated(),
            svid_key_sha256: sha256(evidence.svid_spki()).to_vec(),
            nonce: evidence.nonce().to_vec(),
            binding: evidence.binding().to_vec(),
            pcrs: pcrs.collect(),
            clock: clock.clock,
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            ..Self::default()
        }
    }

    /// As it is kept beside a node.
    #[must_use]
    pub fn to_json(&self) -> String {
        json(self)
    }

    /// As it was kept; nothing of what does not read.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

/// The rule that refuses a machine, as the policy found it.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
pub struct RefusingRule {
    /// The reason code: the kind of rule.
    #[prost(string, tag = "1")]
    pub code: String,
    /// Whether it held.
    #[prost(bool, tag = "2")]
    pub holds: bool,
    /// Whether it only reports.
    #[prost(bool, tag = "3")]
    pub dry_run: bool,
    /// The policy that asks for it; `built-in` for the rules of the server's configuration.
    #[prost(string, tag = "4")]
    pub policy: String,
    /// The policy's key, such as `boot.secure_boot`.
    #[prost(string, tag = "5")]
    pub rule: String,
    /// What was found, in the operator's words.
    #[prost(string, tag = "6")]
    pub text: String,
    /// What the rule asks for.
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the evidence proves.
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Both values in one line.
    #[prost(string, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
    /// The first event of the boot log, or line of the IMA list, that made the rule fail.
    #[prost(message, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event: Option<LoggedEvent>,
}

/// An event of a boot log, or a line of an IMA list.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
pub struct LoggedEvent {
    /// Its position, from 0.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// The register that it extended.
    #[prost(uint32, tag = "2")]
    pub pcr: u32,
    /// Its type.
    #[prost(string, tag = "3")]
    pub kind: String,
    /// What it is about.
    #[prost(string, tag = "4")]
    pub text: String,
}

impl From<&Reason> for RefusingRule {
    fn from(reason: &Reason) -> Self {
        Self {
            code: reason.code.to_string(),
            holds: reason.holds,
            dry_run: reason.dry_run,
            policy: reason.policy.clone(),
            rule: reason.rule.clone(),
            text: reason.text.clone(),
            expected: reason.expected.clone(),
            actual: reason.actual.clone(),
            compared: reason.compared.clone(),
            first_event: reason.first_event.as_ref().map(|event| LoggedEvent {
                number: event.number,
                pcr: u32::from(event.pcr),
                kind: event.kind.clone(),
                text: event.text.clone(),
            }),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    // Strings, numbers and truth values always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}
