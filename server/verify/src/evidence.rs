//! What is proven in the end.

use hallmark_evidence::{EvidenceFile, Source};
use hallmark_node::TpmClass;
use hallmark_tpm_wire::{ClockInfo, Name, PcrSelection, PcrValues};

use crate::boot::MeasuredBoot;
use crate::ek::{CertificateFacts, EkCertificateError};
use crate::enrolment::EnrolledBy;
use crate::ima::MeasuredFiles;
use crate::proven::{ProvenKey, ProvenState, ProvenTpm};
use crate::trust::InventoryMatch;

/// Proven: the SVID key lives in the TPM of this EK, which belongs here; that TPM had these PCR values at the time of
/// this challenge; and the answer was made for this very connection.
///
/// Not proven: that the PCR values are good (policy), that the machine's software does not misuse its own TPM, and that
/// a virtual TPM's platform is honest.
#[derive(Debug)]
pub struct VerifiedEvidence {
    tpm: ProvenTpm,
    key: ProvenKey,
    state: ProvenState,
    exchange: Exchange,
}

/// What made the three parts one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) nonce: [u8; 32],
    pub(crate) binding: [u8; 32],
}

/// Logs as evidence brought and proved them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvenLogs {
    /// The firmware's log, whole; empty if none came.
    pub tcg: Vec<u8>,
    /// systemd's log, whole; empty if none came.
    pub systemd: Vec<u8>,
    /// The new part of the IMA list, as far as the quoted register covers it; empty if none came.
    pub ima: Vec<u8>,
}

impl VerifiedEvidence {
    /// Of parts that one exchange proved.
    pub(crate) const fn new(tpm: ProvenTpm, key: ProvenKey, state: ProvenState, exchange: Exchange) -> Self {
        Self {
            tpm,
            key,
            state,
            exchange,
        }
    }

    /// The first part: the TPM.
    #[must_use]
    pub const fn tpm(&self) -> &ProvenTpm {
        &self.tpm
    }

    /// The second part: the SVID key.
    #[must_use]
    pub const fn key(&self) -> &ProvenKey {
        &self.key
    }

    /// The third part: the machine's state.
    #[must_use]
    pub const fn state(&self) -> &ProvenState {
        &self.state
    }

    /// SHA-256 of the EK's canonical SPKI, DER: the node's identity.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        self.tpm.ek_sha256()
    }

    /// The EK's Name as the node presents it. Its key is proven; its policy, and who may use it, are the node's word.
    #[must_use]
    pub const fn ek_name(&self) -> &Name {
        &self.tpm.ek().name
    }

    /// What stands behind the trust in the EK.
    #[must_use]
    pub const fn enrolled_by(&self) -> EnrolledBy {
        self.tpm.ek().enrolled_by
    }

    /// The kind of TPM; `Unknown` unless there is a genuine EK certificate.
    #[must_use]
    pub const fn class(&self) -> TpmClass {
        self.tpm.ek().class
    }

    /// What the EK certificate says, which its vendor made and did not revoke; `None` if there is none. If the inventory
    /// vouches for the EK, it has expired, or no fresh revocation list covers it.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        self.tpm.ek().certificate()
    }

    /// Whether that certificate is the one that the server keeps, since the claim showed none that counts.
    #[must_use]
    pub const fn certificate_was_kept(&self) -> bool {
        self.tpm.ek().chain_was_kept
    }

    /// Why the EK certificate of the claim lets nobody in, where inventory or record vouched for the EK all the same.
    #[must_use]
    pub const fn certificate_refused(&self) -> Option<&EkCertificateError> {
        self.tpm.ek().certificate_refused.as_ref()
    }

    /// The EK's line in the inventory, if there is one, also one that has expired.
    #[must_use]
    pub const fn inventory(&self) -> Option<&InventoryMatch> {
        self.tpm.ek().inventory.as_ref()
    }

    /// The AK's Name. Record it for the EK: then the next attestation with this AK needs no credential.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        self.tpm.ak_name()
    }

    /// True if the AK activated a credential just now; false if it is trusted from the server's record.
    #[must_use]
    pub const fn ak_activated(&self) -> bool {
        self.tpm.ak_activated()
    }

    /// The SVID key's canonical SPKI, DER. Only for this key may an SVID be issued.
    #[must_use]
    pub fn svid_spki(&self) -> &[u8] {
        self.key.spki()
    }

    /// The SVID key's Name, which covers its attributes.
    #[must_use]
    pub const fn svid_key_name(&self) -> &Name {
        self.key.name()
    }

    /// What was quoted.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        self.state.selection()
    }

    /// The values of exactly the quoted registers.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrValues {
        self.state.pcrs()
    }

    /// Clock (ms), resetCount, restartCount and `safe`, from the quote.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        self.state.clock_info()
    }

    /// The TPM's firmware version, from the quote; its form is the vendor's.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.state.firmware_version()
    }

    /// What was booted; `None` if no boot log came.
    #[must_use]
    pub const fn boot(&self) -> Option<&MeasuredBoot> {
        self.state.boot()
    }

    /// The firmware's and systemd's log, whole; empty where none came.
    #[must_use]
    pub fn boot_logs(&self) -> (&[u8], &[u8]) {
        self.state.boot_logs()
    }

    /// What the kernel measured; `None` if no IMA list came.
    #[must_use]
    pub const fn ima(&self) -> Option<&MeasuredFiles> {
        self.state.ima()
    }

    /// Gives the logs' bytes away, to be kept; what was read from them stays. Long lists need not be in memory twice.
    pub fn take_logs(&mut self) -> ProvenLogs {
        self.state.take_logs()
    }

    /// The evidence as a file that can be judged again without this server. Logs and rules are left to the caller, who may
    /// hold the beginnings of the ones and knows the others.
    #[must_use]
    pub fn to_file(&self, source: Source, made_at: String) -> EvidenceFile {
        let (ek_certificate, ek_chain) = self.tpm.certificate_to_keep();
        EvidenceFile {
            source,
            made_at,
            ak: self.tpm.ak_area(),
            ek_certificate,
            ek_chain,
            quote: self.state.quote().clone(),
            qualification: self.exchange.binding.to_vec(),
            pcr_values: self.state.pcrs().clone(),
            logs: Vec::new(),
            judged: None,
        }
    }

    /// The challenge's nonce.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 32] {
        &self.exchange.nonce
    }

    /// What certification and quote are bound to.
    #[must_use]
    pub const fn binding(&self) -> &[u8; 32] {
        &self.exchange.binding
    }
}
