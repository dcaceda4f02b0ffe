//! Everything that a policy may look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use hallmark_node::{Maker, Model, TpmClass};
use hallmark_tpm_wire::PcrValues;
use hallmark_verify::boot::{BootEvent, BootFacts, MeasuredBoot};
use hallmark_verify::history::QuoteClock;
use hallmark_verify::{EnrolledBy, ProvenState, VerifiedEvidence};
use serde::{Deserialize, Serialize};

use crate::ima::ImaSummary;
use crate::selectors::hex;

/// What a machine proved last, in a form that is kept: a policy, baseline or advisory that comes later is held against
/// it without the machine. Digests are lower-case hex; the same evidence gives the same bytes.
///
/// Reading one back proves nothing by itself: it is as good as the store that it comes from. Only
/// [`appraise`](crate::appraise) makes an [`Appraisal`](crate::Appraisal), and only of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// The TPM.
    pub tpm: TpmFacts,
    /// Counters, clock and the time of the quote.
    #[serde(rename = "sighting")]
    pub quote_clock: QuoteClock,
    /// The quoted registers, as `sha256:7`.
    pub pcrs: BTreeMap<String, String>,
    /// What was booted; none if no boot log was proven.
    pub boot: Option<BootRecord>,
    /// What was measured while the machine ran; none if no IMA list was proven from its first line on.
    #[serde(default)]
    pub ima: Option<ImaSummary>,
    /// What the inventory says of the machine: labels by name. They come from the operator, not from the machine.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What a live attestation showed of a machine, and no file can show again: that the attestation key lives in the TPM of
/// this EK. In an evidence file it is the word of the server that made the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownMachine {
    /// The TPM.
    pub tpm: TpmFacts,
    /// What the inventory said of the machine.
    pub labels: BTreeMap<String, String>,
    /// When the quote was seen, Unix milliseconds.
    pub seen_at: u64,
}

/// A proven boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRecord {
    /// What the logs say, as far as the quote authenticates it.
    pub facts: BootFacts,
    /// The logs' events, to name the one that a rule failed at.
    pub events: Vec<BootEvent>,
}

/// What is proven of the TPM itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmFacts {
    /// SHA-256 of the EK's SPKI.
    pub ek_sha256: String,
    /// Discrete, firmware, virtual, simulator or unknown.
    pub class: String,
    /// `certificate` or `inventory`.
    pub enrolled_by: String,
    /// What the inventory says of the TPM, if it lists it, also in a line that has expired.
    pub inventory: Option<InventoryStatement>,
    /// What the EK certificate says, if there is a genuine one; it may have expired.
    pub certificate: Option<EkCertificate>,
    /// The firmware version that the quote reports.
    pub firmware_version: u64,
    /// Other EKs that operators list as the same machine's, SHA-256 of the SPKI: what is denied to one of them is denied to
    /// the machine.
    #[serde(default)]
    pub other_eks: BTreeSet<String>,
}

/// What operators say of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its labels in the inventory, by name.
    pub labels: BTreeMap<String, String>,
    /// As in [`TpmFacts`].
    pub other_eks: BTreeSet<String>,
}

/// What the operator's inventory says of a TPM. It may say nothing but that the TPM is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryStatement {
    /// The class.
    pub class: Option<String>,
    /// The manufacturer.
    pub manufacturer: Option<Maker>,
    /// The model.
    pub model: Option<Model>,
    /// Whether the line has expired. Then it vouches for nothing, and still says which rules are for the machine.
    #[serde(default)]
    pub expired: bool,
}

/// What a verified EK certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EkCertificate {
    /// The TPM's manufacturer.
    pub manufacturer: Maker,
    /// The TPM's model.
    pub model: Model,
    /// The TPM's version at manufacture.
    pub version: String,
    /// The issuer's name.
    pub issuer: String,
    /// Serial number.
    pub serial: String,
    /// End of validity, Unix seconds.
    pub not_after: i64,
    /// SHA-256 of the certificate, DER.
    pub sha256: String,
    /// Whether it is the one that the server keeps, since the claim showed none that counts.
    #[serde(default)]
    pub kept: bool,
}

impl MachineFacts {
    /// What `evidence` proves, seen at `now`.
    #[must_use]
    pub fn of(evidence: &VerifiedEvidence, now: SystemTime) -> Self {
        Self::following(None, evidence, now)
    }

    /// What `evidence` proves, of whose IMA list `held` is the earlier part, from evidence of the same boot.
    #[must_use]
    pub fn following(held: Option<ImaSummary>, evidence: &VerifiedEvidence, now: SystemTime) -> Self {
        Self {
            tpm: TpmFacts::of(evidence),
            quote_clock: evidence.state().quote_clock(now),
            pcrs: registers(evidence.pcrs()),
            boot: evidence.boot().map(BootRecord::of),
            ima: evidence.ima().and_then(|files| ImaSummary::of(held, files)),
            labels: BTreeMap::new(),
        }
    }

    /// A machine of which only registers and boot are known.
    pub(crate) fn of_boot(pcrs: BTreeMap<String, String>, boot: Option<BootRecord>) -> Self {
        Self {
            tpm: TpmFacts {
                ek_sha256: String::new(),
                class: TpmClass::Unknown.as_str().to_owned(),
                enrolled_by: String::new(),
                inventory: None,
                certificate: None,
                firmware_version: 0,
                other_eks: BTreeSet::new(),
            },
            quote_clock: QuoteClock {
                reset_count: 0,
                restart_count: 0,
                clock: 0,
                safe: false,
                firmware_version: 0,
                seen_at: 0,
            },
            pcrs,
            boot,
            ima: None,
            labels: BTreeMap::new(),
        }
    }

    /// What kept evidence proves. Of the TPM itself it proves nothing, nor when the quote was taken: its class, maker and EK
    /// and that time are `known`, or unknown.
    #[must_use]
    pub fn of_kept(state: &ProvenState, known: Option<KnownMachine>) -> Self {
        let mut facts = Self::of_boot(registers(state.pcrs()), state.boot().map(BootRecord::of));
        facts.quote_clock = state.quote_clock(SystemTime::UNIX_EPOCH);
        facts.ima = state.ima().and_then(|files| ImaSummary::of(None, files));
        if let Some(known) = known {
            facts.tpm = known.tpm;
            facts.labels = known.labels;
            facts.quote_clock.seen_at = known.seen_at;
        }
        facts.tpm.firmware_version = state.firmware_version();
        facts
    }

    /// What is known of the machine that its evidence cannot show again.
    #[must_use]
    pub fn known(&self) -> KnownMachine {
        KnownMachine {
            tpm: self.tpm.clone(),
            labels: self.labels.clone(),
            seen_at: self.quote_clock.seen_at,
        }
    }

    /// The banks that were quoted, and the value of `pcr` in each.
    pub fn pcr(&self, pcr: u8) -> impl Iterator<Item = (&str, &str)> {
        self.pcrs.iter().filter_map(move |(name, value)| {
            let (_, number) = name.split_once(':')?;
            (number.parse() == Ok(pcr)).then_some((name.as_str(), value.as_str()))
        })
    }

    /// How old the quote is, in seconds; zero if it is of the future, as after a step of the server's clock. `None` where
    /// nobody saw it being taken.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<u64> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        (self.quote_clock.seen_at > 0).then(|| now.saturating_sub(self.quote_clock.seen_at / 1000))
    }
}

impl BootRecord {
    fn of(boot: &MeasuredBoot) -> Self {
        Self {
            facts: boot.facts().clone(),
            events: boot.events().to_vec(),
        }
    }
}

fn registers(values: &PcrValues) -> BTreeMap<String, String> {
    let values = values.iter();
    values
        .map(|(bank, pcr, digest)| (format!("{bank}:{pcr}"), hex(digest)))
        .collect()
}

impl TpmFacts {
    fn of(evidence: &VerifiedEvidence) -> Self {
        Self {
            ek_sha256: hex(evidence.ek_sha256()),
            class: evidence.class().as_str().to_owned(),
            enrolled_by: evidence.enrolled_by().as_str().to_owned(),
            inventory: evidence.inventory().map(|line| InventoryStatement {
                class: line.item.class.map(|class| class.as_str().to_owned()),
                manufacturer: line.item.manufacturer.clone(),
                model: line.item.model.clone(),
                expired: line.expired,
            }),
            certificate: evidence.certificate().map(|certificate| EkCertificate {
                manufacturer: certificate.attributes.manufacturer.clone(),
                model: certificate.attributes.model.clone(),
                version: certificate.attributes.version.clone(),
                issuer: certificate.issuer.clone(),
                serial: certificate.serial.clone(),
                not_after: certificate.not_after,
                sha256: hex(&certificate.sha256),
                kept: evidence.certificate_was_kept(),
            }),
            firmware_version: evidence.firmware_version(),
            other_eks: BTreeSet::new(),
        }
    }

    /// Whether the inventory lists the TPM, in a line that has not expired.
    pub(crate) fn is_listed(&self) -> bool {
        self.inventory.as_ref().is_some_and(|line| !line.expired)
    }

    /// Whether the inventory alone vouches for the TPM.
    pub(crate) fn is_enrolled_by_inventory(&self) -> bool {
        self.enrolled_by == EnrolledBy::Inventory.as_str()
    }

    /// The class that the certificate proves, and the one that the inventory states. A name that this program does not
    /// know is no class that could be allowed by another name.
    pub(crate) fn classes(&self) -> [Option<TpmClass>; 2] {
        let known = |name: &str| TpmClass::from_name(name).unwrap_or(TpmClass::Unknown);
        let stated = self.inventory.as_ref().and_then(|line| line.class.as_deref());
        [self.certificate.as_ref().map(|_| known(&self.class)), stated.map(known)]
    }
}
