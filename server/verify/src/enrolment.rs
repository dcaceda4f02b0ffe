//! Whether this TPM belongs here: by its vendor's certificate, by the operator's inventory, or both.

mod shown;

use std::time::SystemTime;

use hallmark_evidence::{Claim, EkCertificateChain};
use hallmark_node::{Maker, TpmClass};
use hallmark_reason::ReasonCode;
use hallmark_tpm_wire::{Name, PublicArea};

use crate::VerifyError;
use crate::ek::{CertificateFacts, EkCertificate, EkCertificateError, GenuineCertificate, judge_certificate};
use crate::fingerprint::{hex, sha256};
use crate::refusal::{RefusalClass, Row, coded_by_row, expected};
use crate::trust::{EkTemplates, InventoryMatch, KnownTpm, Trust};

pub use shown::revoked_certificate;
use shown::{Judge, Shown, choose};

/// What stands behind the trust in an EK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnrolledBy {
    /// Its certificate leads to a pinned root.
    Certificate,
    /// The operator's inventory lists it. If it has a certificate, that lets nobody in now.
    Inventory,
}

impl EnrolledBy {
    /// Lower-case name, as in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Inventory => "inventory",
        }
    }
}

/// An EK that belongs here. It does not yet say that the sender holds it: that is what the challenge proves.
#[derive(Debug, Clone)]
pub(crate) struct EnrolledEk {
    pub(crate) sha256: [u8; 32],
    pub(crate) name: Name,
    pub(crate) enrolled_by: EnrolledBy,
    pub(crate) class: TpmClass,
    /// Its genuine certificate, even where that lets nobody in now.
    genuine: Option<GenuineCertificate>,
    /// Whether it is the server's, since the claim showed none that counts.
    pub(crate) chain_was_kept: bool,
    pub(crate) inventory: Option<InventoryMatch>,
    pub(crate) certificate_refused: Option<EkCertificateError>,
    /// Whether the record said that it was enrolled before.
    enrolled_before: bool,
}

impl EnrolledEk {
    /// What its genuine certificate says, even where that lets nobody in now.
    pub(crate) fn certificate(&self) -> Option<&CertificateFacts> {
        self.genuine.as_ref().map(|it| &it.facts)
    }

    /// That certificate with its intermediates.
    pub(crate) fn chain(&self) -> Option<&EkCertificateChain> {
        self.genuine.as_ref().map(|it| &it.chain)
    }
}

/// Why an EK does not belong here, apart from faults of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The certificate is about another key.
    #[error("the EK certificate is for another endorsement key")]
    OtherKey {
        /// SHA-256 of the certified key's SPKI, hex.
        certified: String,
        /// SHA-256 of the presented EK's SPKI, hex.
        presented: String,
    },
    /// There is no certificate, and the inventory does not list the EK.
    #[error("the TPM has no EK certificate and is not in the inventory")]
    Unknown {
        /// SHA-256 of the EK's SPKI, hex.
        ek_sha256: String,
        /// The EK's Name, hex.
        name: String,
    },
    /// The inventory's line has expired, and no certificate vouches for the EK.
    #[error("the TPM's line in the inventory has expired")]
    InventoryExpired {
        /// SHA-256 of the EK's SPKI, hex.
        ek_sha256: String,
        /// Who answers for the machine.
        owner: String,
    },
    /// The EK is not of the template that counts for its TPM.
    #[error("the endorsement key is not made after a template that counts here")]
    OtherTemplate {
        /// The templates that count, by name.
        counting: String,
        /// The EK's template.
        found: &'static str,
    },
    /// The caller looked up the record of another TPM.
    #[error("the server's record belongs to another TPM")]
    OtherRecord {
        /// SHA-256 of the record's EK, hex.
        record: String,
        /// SHA-256 of the presented EK, hex.
        presented: String,
    },
}

impl EnrolmentError {
    pub(crate) fn row(&self) -> Row {
        match self {
            Self::OtherKey { certified, presented } => Row::new(
                ReasonCode::new("HM-VERIFY-0141"),
                RefusalClass::UntrustedTpm,
                expected(certified, presented),
            ),
            Self::Unknown { ek_sha256, name } => Row::new(
                ReasonCode::new("HM-VERIFY-0142"),
                RefusalClass::UntrustedTpm,
                expected("a line of the inventory", format!("EK {ek_sha256}, Name {name}")),
            ),
            Self::InventoryExpired { ek_sha256, owner } => Row::new(
                ReasonCode::new("HM-VERIFY-0143"),
                RefusalClass::UntrustedTpm,
                expected(
                    "a line that has not expired",
                    format!("EK {ek_sha256}, owner \"{owner}\""),
                ),
            ),
            Self::OtherTemplate { counting, found } => Row::new(
                ReasonCode::new("HM-VERIFY-0145"),
                RefusalClass::UntrustedTpm,
                expected(
                    Some(counting.as_str())
                        .filter(|names| !names.is_empty())
                        .unwrap_or("a manufacturer that is known"),
                    found,
                ),
            ),
            Self::OtherRecord { record, presented } => Row::new(
                ReasonCode::new("HM-VERIFY-0144"),
                RefusalClass::ServerSide,
                expected(presented, record),
            ),
        }
    }
}

coded_by_row!(EnrolmentError);

/// Judges the EK of a claim. What the claim leaves out is judged by what is `known`.
///
/// # Errors
/// The certificate's fault if there is a certificate, else [`EnrolmentError`].
pub(crate) fn enrol(
    claim: &Claim,
    ek_spki: &[u8],
    trust: &Trust,
    known: Option<&KnownTpm>,
    now: SystemTime,
) -> Result<EnrolledEk, VerifyError> {
    let sha256 = sha256(ek_spki);
    if let Some(record) = known.filter(|record| record.ek_sha256 != sha256) {
        let (record, presented) = (hex(&record.ek_sha256), hex(&sha256));
        return Err(EnrolmentError::OtherRecord { record, presented }.into());
    }
    let judge = Judge {
        ek_spki,
        trust,
        enrolled_before: known.is_some_and(|record| record.enrolled),
        now,
    };
    let shown = judge.claimed(claim)?;
    let kept = known.and_then(|record| record.certificate.as_ref());
    let kept = judge.kept(kept, shown.as_ref())?;
    let (chosen, refused) = choose(shown, kept);
    conclude(&judge, &claim.ek_public, chosen, refused)
}

/// Judges an EK again that was enrolled: time went on since, and operators may trust other things. Where neither changes
/// what its certificate is worth, the verdict on that is the one that was made.
///
/// # Errors
/// As for [`enrol`].
pub(crate) fn enrol_again(
    ek: &EnrolledEk,
    key: &PublicArea,
    ek_spki: &[u8],
    trust: &Trust,
    now: SystemTime,
) -> Result<EnrolledEk, VerifyError> {
    let judge = Judge {
        ek_spki,
        trust,
        enrolled_before: ek.enrolled_before,
        now,
    };
    let refused = ek.certificate_refused.clone();
    let same = ek.genuine.as_ref().filter(|it| judge.still_stands(it));
    let shown = match same {
        Some(genuine) => Some(Shown::genuine(genuine.clone())),
        None => judge.kept(ek.chain(), None)?,
    };
    match shown {
        Some(shown) => {
            let is_kept = ek.chain_was_kept;
            conclude(&judge, key, Some(Shown { is_kept, ..shown }), refused)
        }
        None => conclude(&judge, key, refused.map(Shown::refused), None),
    }
}

/// The verdict on an EK, by the certificate that counts for it and by the inventory.
fn conclude(
    judge: &Judge<'_>,
    key: &PublicArea,
    chosen: Option<Shown>,
    mut refused: Option<EkCertificateError>,
) -> Result<EnrolledEk, VerifyError> {
    let (sha256, name, trust) = (sha256(judge.ek_spki), key.name(), judge.trust);
    let inventory = trust.inventory.find_ek(sha256, key, judge.now);
    let listed = inventory.as_ref().is_some_and(|line| !line.expired);
    let enrolled = |enrolled_by, certificate: Option<(GenuineCertificate, bool)>, refused| {
        let (certificate, was_kept) = certificate.map_or((None, false), |(it, kept)| (Some(it), kept));
        EnrolledEk {
            sha256,
            name,
            enrolled_by,
            class: certificate.as_ref().map_or(TpmClass::Unknown, |it| it.class),
            chain_was_kept: was_kept,
            inventory: inventory.clone(),
            certificate_refused: refused,
            genuine: certificate,
            enrolled_before: judge.enrolled_before,
        }
    };
    let ek: Result<EnrolledEk, VerifyError> = match chosen {
        None if listed => Ok(enrolled(EnrolledBy::Inventory, None, None)),
        None => Err(not_enrolled(inventory.as_ref(), &sha256, &key.name()).into()),
        Some(Shown { worth, is_kept, .. }) => match worth {
            Ok(genuine) => match &genuine.lapsed {
                None => Ok(enrolled(EnrolledBy::Certificate, Some((genuine, is_kept)), refused)),
                // The operator vouches for the key itself. What the vendor said of the TPM stays true.
                Some(lapsed) if listed => {
                    refused = Some(lapsed.clone());
                    Ok(enrolled(EnrolledBy::Inventory, Some((genuine, is_kept)), refused))
                }
                Some(lapsed) => Err(lapsed.clone().into()),
            },
            // Whoever listed the EK knew less than the vendor knows now.
            Err(error @ EkCertificateError::Revoked) => Err(error.into()),
            // Nothing of a certificate that was not believed is used.
            Err(error) if listed => Ok(enrolled(EnrolledBy::Inventory, None, Some(error))),
            Err(error) => Err(error.into()),
        },
    };
    let ek = ek?;
    require_template(&ek, key, &trust.ek_templates)?;
    Ok(ek)
}

/// The manufacturer is known by the certificate, by the inventory, or not.
fn require_template(ek: &EnrolledEk, key: &PublicArea, templates: &EkTemplates) -> Result<(), EnrolmentError> {
    let certified = ek.certificate().map(|it| &it.attributes.manufacturer);
    let stated = ek.inventory.as_ref().and_then(|line| line.item.manufacturer.as_ref());
    let makers: Vec<&Maker> = certified.into_iter().chain(stated).collect();
    let required = templates.require(key, &makers);
    required.map(|_| ()).map_err(|other| EnrolmentError::OtherTemplate {
        counting: other.counting,
        found: other.found,
    })
}

fn not_enrolled(line: Option<&InventoryMatch>, sha256: &[u8; 32], name: &Name) -> EnrolmentError {
    let ek_sha256 = hex(sha256);
    match line {
        Some(line) => EnrolmentError::InventoryExpired {
            ek_sha256,
            owner: line.item.owner.clone(),
        },
        None => EnrolmentError::Unknown {
            ek_sha256,
            name: name.to_string(),
        },
    }
}

/// Judges a certificate of a file, about whose key nothing else is known.
///
/// # Errors
/// The certificate's fault.
pub(crate) fn judge_kept(
    nv: &[u8],
    chain: &[Vec<u8>],
    trust: &Trust,
    now: SystemTime,
) -> Result<GenuineCertificate, EkCertificateError> {
    let tolerate_expired = trust.expired == crate::trust::ExpiredPolicy::Ignore;
    let genuine = judge_certificate(&EkCertificate::read(nv)?, chain, trust, tolerate_expired, now)?;
    match genuine.lapsed {
        Some(lapsed) => Err(lapsed),
        None => Ok(genuine),
    }
}

/// Whether the vendor has revoked a certificate, or one of its issuers', by the lists at hand. One that is not believed
/// for another reason is not revoked.
#[must_use]
pub fn is_revoked(chain: &EkCertificateChain, trust: &Trust, now: SystemTime) -> bool {
    let certificate = EkCertificate::read(&chain.certificate);
    let worth = certificate.and_then(|it| judge_certificate(&it, &chain.intermediates, trust, true, now));
    matches!(worth, Err(EkCertificateError::Revoked))
}
