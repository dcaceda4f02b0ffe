//! The machine: one software TPM with its keys, and what it sends.

use std::collections::BTreeMap;

use hallmark_evidence::{
    Binding, Claim, EvidenceError, Log, PAYLOAD_VERSION, Proof, RawClaim, RawLog, RawPcrValue, RawProof, RawSigned,
};
use hallmark_tpm_wire::credential::Credential;
use hallmark_tpm_wire::templates::ek_template_named;
use hallmark_tpm_wire::{HashAlg, Name};

use super::certificate::VendorCa;
use super::ek::SoftwareEk;
use super::key::SoftwareKey;
use super::statement::{AttestDraft, SignedParts, certify_body, quote_body};
use crate::{EkTemplates, Trust};

const ENDORSEMENT: u32 = 0x4000_000b;
const NULL: u32 = 0x4000_0007;

/// A machine with a software TPM. All fields may be changed before a claim or a proof is made.
#[derive(Debug)]
pub struct SoftwareMachine {
    /// The endorsement key.
    pub ek: SoftwareEk,
    /// Its certificate as in NV memory.
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediates as in NV memory.
    pub ek_chain: Vec<Vec<u8>>,
    /// The attestation key.
    pub ak: SoftwareKey,
    /// The SVID key.
    pub svid: SoftwareKey,
    /// The PCRs, by TPM_ALG_ID of the bank and register.
    pub pcrs: BTreeMap<(u16, u8), Vec<u8>>,
    /// resetCount.
    pub reset_count: u32,
    /// restartCount.
    pub restart_count: u32,
    /// The TPM's clock, in milliseconds.
    pub clock: u64,
    /// firmwareVersion.
    pub firmware_version: u64,
    /// The logs that it sends with every proof.
    pub logs: Vec<Log>,
    /// The number of its agent's run.
    pub session: u64,
}

impl SoftwareMachine {
    /// The templates of its endorsement keys ([`SoftwareEk::rsa`], [`SoftwareEk::ecc`]), for a server that is to trust it.
    pub const EK_TEMPLATES: [&str; 2] = ["rsa-2048-l1", "ecc-p256-l2"];

    /// Trust in the machines of `vendor`, with either endorsement key.
    #[must_use]
    pub fn trust(vendor: &VendorCa) -> Trust {
        let templates = Self::EK_TEMPLATES.into_iter().filter_map(ek_template_named);
        let mut trust = Trust {
            ek_templates: EkTemplates::new(templates.collect()),
            ..Trust::default()
        };
        trust.roots.add("vendor", vendor.root_der()).expect("a root");
        trust
    }

    /// A good machine with ECC keys and a measured boot in the SHA-256 bank, with a certificate of `vendor`.
    #[must_use]
    pub fn new(vendor: &VendorCa) -> Self {
        Self::with_ek(vendor, SoftwareEk::ecc())
    }

    /// The same with this endorsement key.
    #[must_use]
    pub fn with_ek(vendor: &VendorCa, ek: SoftwareEk) -> Self {
        let value = |pcr: u8| match pcr {
            0..=14 => HashAlg::Sha256.digest(&[b"measured at boot", &[pcr][..]].concat()),
            17..=22 => vec![0xff; 32],
            _ => vec![0; 32],
        };
        Self {
            ek_certificate: Some(vendor.ek_certificate(&ek)),
            ek_chain: vec![vendor.intermediate_der().to_vec()],
            ek,
            ak: SoftwareKey::ak(),
            svid: SoftwareKey::svid(),
            pcrs: (0..24).map(|pcr| ((0x000b, pcr), value(pcr))).collect(),
            reset_count: 7,
            restart_count: 0,
            clock: 123_456,
            firmware_version: 0x0001_0002_0003_0004,
            logs: Vec::new(),
            session: 0x5e55_1011,
        }
    }

    /// What the machine sends first.
    #[must_use]
    pub fn claim(&self) -> ClaimParts {
        ClaimParts {
            ek_certificate: self.ek_certificate.clone(),
            ek_chain: self.ek_chain.clone(),
            ek_public: self.ek.public.marshal(),
            ak_public: self.ak.public.marshal(),
            svid_public: self.svid.public.marshal(),
            csr: self.svid.csr_for(&self.svid.spki()),
            session: self.session,
        }
    }

    /// What the machine answers.
    #[must_use]
    pub fn prove(&self, challenge: &ChallengeParts, exporter: &[u8; 32]) -> ProofParts {
        self.prove_with(challenge, exporter, |_| {})
    }

    /// What the machine answers, after `change` was made and before it is signed.
    #[must_use]
    pub fn prove_with(
        &self,
        challenge: &ChallengeParts,
        exporter: &[u8; 32],
        change: impl FnOnce(&mut ProofDraft),
    ) -> ProofParts {
        let mut draft = self.draft(challenge, exporter);
        change(&mut draft);
        ProofParts {
            activated_secret: draft.activated_secret,
            certify: self.signed(&draft.certify),
            quote: self.signed(&draft.quote),
            pcr_values: draft.pcr_values,
            logs: draft.logs,
        }
    }

    /// Signs a draft with the AK.
    #[must_use]
    pub fn signed(&self, draft: &AttestDraft) -> SignedParts {
        let attest = draft.marshal();
        SignedParts {
            signature: self.ak.sign(&attest),
            attest,
        }
    }

    fn draft(&self, challenge: &ChallengeParts, exporter: &[u8; 32]) -> ProofDraft {
        let logs: Vec<_> = self.logs.iter().map(Log::digest).collect();
        let svid_name = self.svid.public.name();
        let binding = Name::parse(&svid_name)
            .map(|name| Binding::compute(&challenge.nonce, exporter, &name, &logs))
            .map_or_else(|_| vec![0; 32], |binding| binding.to_vec());
        let registers = challenge
            .selection
            .iter()
            .flat_map(|(alg, pcrs)| pcrs.iter().map(|pcr| (*alg, *pcr)));
        let pcr_values: Vec<_> = registers
            .map(|(alg, pcr)| {
                (
                    alg,
                    pcr,
                    self.pcrs.get(&(alg, pcr)).cloned().unwrap_or_else(|| vec![0; 32]),
                )
            })
            .collect();
        let values: Vec<Vec<u8>> = pcr_values.iter().map(|(_, _, value)| value.clone()).collect();
        let certified = certify_body(&svid_name, &self.svid.public.qualified_name(NULL));
        ProofDraft {
            activated_secret: challenge
                .credential
                .as_ref()
                .and_then(|credential| self.ek.activate(credential, &self.ak.public.name())),
            certify: self.attest(0x8017, binding.clone(), certified),
            quote: self.attest(0x8018, binding, quote_body(&challenge.selection, &values)),
            pcr_values,
            logs: self.logs.clone(),
        }
    }

    fn attest(&self, tag: u16, extra_data: Vec<u8>, attested: Vec<u8>) -> AttestDraft {
        AttestDraft {
            magic: 0xff54_4347,
            tag,
            qualified_signer: self.ak.public.qualified_name(ENDORSEMENT),
            extra_data,
            clock: self.clock,
            reset_count: self.reset_count,
            restart_count: self.restart_count,
            safe: 1,
            firmware_version: self.firmware_version,
            attested,
        }
    }
}

/// A challenge as the node sees it.
#[derive(Debug, Clone)]
pub struct ChallengeParts {
    /// The server's nonce.
    pub nonce: [u8; 32],
    /// The credential, if there is one.
    pub credential: Option<Credential>,
    /// TPM_ALG_ID of each bank, with its registers.
    pub selection: Vec<(u16, Vec<u8>)>,
}

impl From<&crate::Challenge> for ChallengeParts {
    fn from(challenge: &crate::Challenge) -> Self {
        let banks = challenge.selection().banks().iter();
        Self {
            nonce: *challenge.nonce(),
            credential: challenge.credential().cloned(),
            selection: banks.map(|bank| (bank.hash().id(), bank.pcrs().collect())).collect(),
        }
    }
}

/// A claim in wire form.
#[derive(Debug, Clone)]
pub struct ClaimParts {
    /// X.509 as in NV memory.
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediates.
    pub ek_chain: Vec<Vec<u8>>,
    /// TPMT_PUBLIC.
    pub ek_public: Vec<u8>,
    /// TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
    /// TPMT_PUBLIC.
    pub svid_public: Vec<u8>,
    /// PKCS #10, DER.
    pub csr: Vec<u8>,
    /// The number of the agent's run.
    pub session: u64,
}

impl ClaimParts {
    /// The typed form, as a server decodes it.
    ///
    /// # Errors
    /// What the decoder refuses.
    pub fn decode(&self) -> Result<Claim, EvidenceError> {
        Claim::decode(&RawClaim {
            version: PAYLOAD_VERSION,
            ek_certificate: self.ek_certificate.as_deref().unwrap_or_default(),
            ek_chain: &self.ek_chain,
            ek_public: &self.ek_public,
            ak_public: &self.ak_public,
            svid_public: &self.svid_public,
            csr: &self.csr,
            session: self.session,
        })
    }
}

/// A proof before its statements are signed.
#[derive(Debug, Clone)]
pub struct ProofDraft {
    /// What the endorsement key opened.
    pub activated_secret: Option<Vec<u8>>,
    /// TPM2_Certify of the SVID key.
    pub certify: AttestDraft,
    /// TPM2_Quote.
    pub quote: AttestDraft,
    /// TPM_ALG_ID of the bank, register, value.
    pub pcr_values: Vec<(u16, u8, Vec<u8>)>,
    /// The logs that the binding is over.
    pub logs: Vec<Log>,
}

/// A proof in wire form.
#[derive(Debug, Clone)]
pub struct ProofParts {
    /// What the endorsement key opened.
    pub activated_secret: Option<Vec<u8>>,
    /// TPM2_Certify of the SVID key.
    pub certify: SignedParts,
    /// TPM2_Quote.
    pub quote: SignedParts,
    /// TPM_ALG_ID of the bank, register, value.
    pub pcr_values: Vec<(u16, u8, Vec<u8>)>,
    /// The logs that follow.
    pub logs: Vec<Log>,
}

impl ProofParts {
    /// The typed form, as a server decodes it.
    ///
    /// # Errors
    /// What the decoder refuses.
    pub fn decode(&self) -> Result<Proof, EvidenceError> {
        let value = |(alg, pcr, digest): &(u16, u8, Vec<u8>)| (u32::from(*alg), u32::from(*pcr), digest.clone());
        let values: Vec<_> = self.pcr_values.iter().map(value).collect();
        let digests: Vec<_> = self.logs.iter().map(Log::digest).collect();
        Proof::decode(&RawProof {
            version: PAYLOAD_VERSION,
            activated_secret: self.activated_secret.as_deref().unwrap_or_default(),
            certify: raw(&self.certify),
            quote: raw(&self.quote),
            pcr_values: values
                .iter()
                .map(|(hash_alg, pcr, digest)| RawPcrValue {
                    hash_alg: *hash_alg,
                    pcr: *pcr,
                    digest,
                })
                .collect(),
            logs: digests
                .iter()
                .map(|log| RawLog {
                    kind: i32::from(log.kind.number()),
                    offset: log.offset,
                    length: log.length,
                    sha256: &log.sha256,
                })
                .collect(),
        })
    }
}

fn raw(parts: &SignedParts) -> RawSigned<'_> {
    RawSigned {
        attest: &parts.attest,
        signature: &parts.signature,
    }
}
