//! What is proven in the end.

use hallmark_evidence::{AkPublic, EvidenceFile, Signed, Source};
use hallmark_node::TpmClass;
use hallmark_tpm_wire::{ClockInfo, Name, PcrSelection, PcrValues};

use crate::boot::MeasuredBoot;
use crate::challenge::Challenge;
use crate::ek::{CertificateFacts, EkCertificateError};
use crate::enrolment::{EnrolledBy, EnrolledEk};
use crate::ima::MeasuredFiles;
use crate::statement::Quoted;
use crate::trust::InventoryMatch;
use crate::verify_claim::VerifiedClaim;

/// Proven: the SVID key lives in the TPM of this EK, which belongs here; that TPM had these PCR values at the time of
/// this challenge; and the answer was made for this very connection.
///
/// Not proven: that the PCR values are good (policy), that the machine's software does not misuse its own TPM, and that
/// a virtual TPM's platform is honest.
#[derive(Debug)]
pub struct VerifiedEvidence {
    pub(crate) ek: EnrolledEk,
    ak_name: Name,
    ak_activated: bool,
    svid_spki: Vec<u8>,
    svid_name: Name,
    selection: PcrSelection,
    pub(crate) pcrs: PcrValues,
    pub(crate) clock: ClockInfo,
    firmware_version: u64,
    nonce: [u8; 32],
    binding: [u8; 32],
    pub(crate) boot: Option<MeasuredBoot>,
    pub(crate) boot_logs: (Vec<u8>, Vec<u8>),
    pub(crate) ima: Option<MeasuredFiles>,
    ak_public: Vec<u8>,
    ek_certificate: Option<Vec<u8>>,
    pub(crate) ek_chain: Vec<Vec<u8>>,
    quote: Signed,
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
    pub(crate) fn new(
        verified_claim: VerifiedClaim,
        challenge: &Challenge,
        quoted: Quoted,
        quote: Signed,
        binding: [u8; 32],
    ) -> Self {
        Self {
            ak_public: verified_claim.ak_public.marshal(),
            ek_certificate: verified_claim.ek_certificate,
            ek_chain: verified_claim.ek_chain,
            quote,
            ek: verified_claim.ek,
            ak_name: verified_claim.ak_name,
            ak_activated: challenge.credential().is_some(),
            svid_spki: verified_claim.svid_spki,
            svid_name: verified_claim.svid_name,
            selection: challenge.selection.clone(),
            pcrs: quoted.values,
            clock: quoted.attest.clock_info,
            firmware_version: quoted.attest.firmware_version,
            nonce: challenge.nonce,
            binding,
            boot: None,
            boot_logs: (Vec::new(), Vec::new()),
            ima: None,
        }
    }

    /// SHA-256 of the EK's canonical SPKI, DER: the node's identity.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        &self.ek.sha256
    }

    /// The EK's Name as the node presents it. Its key is proven; its policy, and who may use it, are the node's word.
    #[must_use]
    pub const fn ek_name(&self) -> &Name {
        &self.ek.name
    }

    /// What stands behind the trust in the EK.
    #[must_use]
    pub const fn enrolled_by(&self) -> EnrolledBy {
        self.ek.enrolled_by
    }

    /// The kind of TPM; `Unknown` unless there is a genuine EK certificate.
    #[must_use]
    pub const fn class(&self) -> TpmClass {
        self.ek.class
    }

    /// What the EK certificate says, which its vendor made and did not revoke; `None` if there is none. If the inventory
    /// vouches for the EK, it has expired, or no fresh revocation list covers it.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateFacts> {
        self.ek.certificate.as_ref()
    }

    /// Whether that certificate is the one that the server keeps, since the claim showed none that counts.
    #[must_use]
    pub const fn certificate_was_kept(&self) -> bool {
        self.ek.chain_was_kept
    }

    /// Why the EK certificate of the claim lets nobody in, where inventory or record vouched for the EK all the same.
    #[must_use]
    pub const fn certificate_refused(&self) -> Option<&EkCertificateError> {
        self.ek.certificate_refused.as_ref()
    }

    /// The EK's line in the inventory, if there is one, also one that has expired.
    #[must_use]
    pub const fn inventory(&self) -> Option<&InventoryMatch> {
        self.ek.inventory.as_ref()
    }

    /// The AK's Name. Record it for the EK: then the next attestation with this AK needs no credential.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        &self.ak_name
    }

    /// True if the AK activated a credential just now; false if it is trusted from the server's record.
    #[must_use]
    pub const fn ak_activated(&self) -> bool {
        self.ak_activated
    }

    /// The SVID key's canonical SPKI, DER. Only for this key may an SVID be issued.
    #[must_use]
    pub fn svid_spki(&self) -> &[u8] {
        &self.svid_spki
    }

    /// The SVID key's Name, which covers its attributes.
    #[must_use]
    pub const fn svid_key_name(&self) -> &Name {
        &self.svid_name
    }

    /// What was quoted.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// The values of exactly the quoted registers.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// Clock (ms), resetCount, restartCount and `safe`, from the quote.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        &self.clock
    }

    /// The TPM's firmware version, from the quote; its form is the vendor's.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// What was booted; `None` if no boot log came.
    #[must_use]
    pub const fn boot(&self) -> Option<&MeasuredBoot> {
        self.boot.as_ref()
    }

    /// The firmware's and systemd's log, whole; empty where none came.
    #[must_use]
    pub fn boot_logs(&self) -> (&[u8], &[u8]) {
        (&self.boot_logs.0, &self.boot_logs.1)
    }

    /// What the kernel measured; `None` if no IMA list came.
    #[must_use]
    pub const fn ima(&self) -> Option<&MeasuredFiles> {
        self.ima.as_ref()
    }

    /// Gives the logs' bytes away, to be kept; what was read from them stays. Long lists need not be in memory twice.
    pub fn take_logs(&mut self) -> ProvenLogs {
        let (tcg, systemd) = std::mem::take(&mut self.boot_logs);
        ProvenLogs {
            tcg,
            systemd,
            ima: self.ima.as_mut().map(MeasuredFiles::take_data).unwrap_or_default(),
        }
    }

    /// The evidence as a file that can be judged again without this server. Logs and rules are left to the caller, who may
    /// hold the beginnings of the ones and knows the others.
    #[must_use]
    pub fn to_file(&self, source: Source, made_at: String) -> EvidenceFile {
        EvidenceFile {
            source,
            made_at,
            ak: AkPublic::Area(self.ak_public.clone()),
            ek_certificate: self.ek_certificate.clone(),
            ek_chain: self.ek_chain.clone(),
            quote: self.quote.clone(),
            qualification: self.binding.to_vec(),
            pcr_values: self.pcrs.clone(),
            logs: Vec::new(),
            judged: None,
        }
    }

    /// The challenge's nonce.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// What certification and quote are bound to.
    #[must_use]
    pub const fn binding(&self) -> &[u8; 32] {
        &self.binding
    }
}
