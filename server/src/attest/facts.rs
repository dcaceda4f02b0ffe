//! What an attestation proved, for people: kept beside the node, shown by `hallmark node show`. No decision reads it.

use hallmark_policy::Appraisal;
use hallmark_verify::VerifiedEvidence;
use serde::{Deserialize, Serialize};

/// What the last accepted attestation of a node proved, and the SVID that followed. Digests and serial numbers are
/// lower-case hex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// SHA-256 of the EK's SPKI.
    pub ek_sha256: String,
    /// The EK's Name.
    pub ek_name: String,
    /// Issuer of the EK certificate; empty without one.
    pub ek_issuer: String,
    /// Serial number of the EK certificate.
    pub ek_serial: String,
    /// End of the EK certificate, in Unix seconds; 0 without one.
    pub ek_not_after: i64,
    /// `certificate` or `inventory`.
    pub enrolled_by: String,
    /// Manufacturer, of the EK certificate.
    pub manufacturer: String,
    /// Model, of the EK certificate.
    pub model: String,
    /// Firmware version, of the quote.
    pub firmware_version: String,
    /// Class of the TPM.
    pub class: String,
    /// The AK's Name.
    pub ak_name: String,
    /// Whether the AK activated a credential this time.
    pub ak_activated: bool,
    /// SHA-256 of the SVID key's SPKI.
    pub svid_key_sha256: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// What certification and quote were bound to.
    pub binding: String,
    /// What was quoted.
    pub pcrs: Vec<PcrFact>,
    /// The TPM's clock, in milliseconds.
    pub clock: u64,
    /// TPM resets.
    pub reset_count: u32,
    /// TPM restarts since the reset.
    pub restart_count: u32,
    /// `trusted` or `refused`.
    pub verdict: String,
    /// Why, in order.
    pub reasons: Vec<ReasonFact>,
    /// The SVID's serial number; empty when none followed.
    pub svid_serial: String,
    /// The SVID's `notAfter`, in Unix seconds.
    pub svid_not_after: i64,
    /// Label of the token key that signed.
    pub authority_key_label: String,
}

/// One quoted register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrFact {
    /// The bank, as `sha256`.
    pub bank: String,
    /// The register.
    pub pcr: u8,
    /// Its value.
    pub digest: String,
}

/// One reason of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonFact {
    /// Its code.
    pub code: String,
    /// Its sentence.
    pub text: String,
}

impl Facts {
    /// What `appraisal` rests on.
    #[must_use]
    pub fn of(appraisal: &Appraisal) -> Self {
        let evidence = appraisal.evidence();
        let mut facts = Self {
            verdict: if appraisal.is_trusted() { "trusted" } else { "refused" }.to_owned(),
            reasons: appraisal
                .reasons()
                .iter()
                .map(|reason| ReasonFact {
                    code: reason.code.to_string(),
                    text: reason.text.clone(),
                })
                .collect(),
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
        let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, evidence.svid_spki());
        Self {
            ek_sha256: hex::encode(evidence.ek_sha256()),
            ek_name: evidence.ek_name().to_string(),
            enrolled_by: evidence.enrolled_by().as_str().to_owned(),
            firmware_version: format!("{:016x}", evidence.firmware_version()),
            class: evidence.class().to_string(),
            ak_name: evidence.ak_name().to_string(),
            ak_activated: evidence.ak_activated(),
            svid_key_sha256: hex::encode(key),
            nonce: hex::encode(evidence.nonce()),
            binding: hex::encode(evidence.binding()),
            pcrs: evidence
                .pcrs()
                .iter()
                .map(|(bank, pcr, digest)| PcrFact {
                    bank: bank.to_string(),
                    pcr,
                    digest: hex::encode(digest),
                })
                .collect(),
            clock: clock.clock,
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            ..Self::default()
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As it was stored; nothing of what does not read.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}
