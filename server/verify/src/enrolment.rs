//! Whether this TPM belongs here: by its vendor's certificate, by the operator's inventory, or both.

use std::time::SystemTime;

use hallmark_evidence::{Claim, EvidenceFile};
use hallmark_reason::ReasonCode;
use hallmark_tpm_wire::{HashAlg, Name};

use crate::VerifyError;
use crate::ek::{EkCertificate, EkCertificateError, TpmAttributes, TpmClass, classify, verify_path};
use crate::fingerprint::{hex, sha256};
use crate::refusal::{RefusalClass, Row, coded_by_row, expected};
use crate::trust::{EkKey, ExpiredPolicy, InventoryItem, KnownTpm, Trust};

/// What stands behind the trust in an EK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnrolledBy {
    /// Its certificate leads to a pinned root.
    Certificate,
    /// The operator's inventory lists it. If it has a certificate, that was not believed.
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

/// What a verified EK certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Manufacturer, model and version of the TPM.
    pub attributes: TpmAttributes,
    /// The issuer's name.
    pub issuer: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Begin of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// SHA-256 of the certificate, DER.
    pub sha256: [u8; 32],
}

/// An EK that belongs here. It does not yet say that the sender holds it: that is what the challenge proves.
#[derive(Debug, Clone)]
pub(crate) struct EnrolledEk {
    pub(crate) sha256: [u8; 32],
    pub(crate) name: Name,
    pub(crate) enrolled_by: EnrolledBy,
    pub(crate) class: TpmClass,
    pub(crate) certificate: Option<CertificateFacts>,
    pub(crate) inventory: Option<InventoryItem>,
    pub(crate) certificate_refused: Option<EkCertificateError>,
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
        let (code, class, compared, cause, next) = match self {
            Self::OtherKey { certified, presented } => (
                ReasonCode::new("HM-VERIFY-0141"),
                RefusalClass::UntrustedTpm,
                expected(certified, presented),
                "another machine's certificate, or a certificate of the RSA key with the ECC key",
                "treat the node as hostile until this is explained",
            ),
            Self::Unknown { ek_sha256, name } => (
                ReasonCode::new("HM-VERIFY-0142"),
                RefusalClass::UntrustedTpm,
                expected("a line of the inventory", format!("EK {ek_sha256}, Name {name}")),
                "a TPM without EK certificate that was not enrolled",
                "if this machine is yours, add its EK hash to ek_inventory",
            ),
            Self::InventoryExpired { ek_sha256, owner } => (
                ReasonCode::new("HM-VERIFY-0143"),
                RefusalClass::UntrustedTpm,
                expected(
                    "a line that has not expired",
                    format!("EK {ek_sha256}, owner \"{owner}\""),
                ),
                "the date in the line's third column has passed",
                "ask the owner, then set a new date in ek_inventory",
            ),
            Self::OtherRecord { record, presented } => (
                ReasonCode::new("HM-VERIFY-0144"),
                RefusalClass::ServerSide,
                expected(presented, record),
                "a fault in the server",
                "report it, with the server's log",
            ),
        };
        Row {
            code,
            class,
            compared,
            cause,
            next,
        }
    }
}

coded_by_row!(EnrolmentError);

/// Judges the EK of a claim.
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
    let name = claim.ek_public.name();
    let certified = claim
        .ek_certificate
        .as_deref()
        .map(|nv| believe(nv, &claim.ek_chain, ek_spki, trust, known.is_some(), now))
        .transpose()?;
    let line = inventory_line(trust, sha256, &name);
    let inventory = line.filter(|item| item.is_valid_at(now)).cloned();
    match (certified, inventory) {
        (Some(Ok((certificate, class))), inventory) => Ok(EnrolledEk {
            sha256,
            name,
            enrolled_by: EnrolledBy::Certificate,
            class,
            certificate: Some(certificate),
            inventory,
            certificate_refused: None,
        }),
        // Whoever listed the EK knew less than the vendor knows now.
        (Some(Err(error @ EkCertificateError::Revoked)), _) => Err(error.into()),
        // The operator vouches for the key itself. Nothing of a certificate that was not believed is used.
        (refused, Some(inventory)) => Ok(EnrolledEk {
            sha256,
            name,
            enrolled_by: EnrolledBy::Inventory,
            class: TpmClass::Unknown,
            certificate: None,
            inventory: Some(inventory),
            certificate_refused: refused.and_then(Result::err),
        }),
        (Some(Err(error)), None) => Err(error.into()),
        (None, None) => Err(not_enrolled(line, &sha256, &name).into()),
    }
}

fn not_enrolled(line: Option<&InventoryItem>, sha256: &[u8; 32], name: &Name) -> EnrolmentError {
    let ek_sha256 = hex(sha256);
    match line {
        Some(item) => EnrolmentError::InventoryExpired {
            ek_sha256,
            owner: item.owner.clone(),
        },
        None => EnrolmentError::Unknown {
            ek_sha256,
            name: name.to_string(),
        },
    }
}

fn inventory_line<'a>(trust: &'a Trust, sha256: [u8; 32], name: &Name) -> Option<&'a InventoryItem> {
    let by_name = || {
        let digest = name.as_bytes().get(2..)?;
        let digest = (name.hash_alg() == HashAlg::Sha256).then_some(digest)?;
        trust.inventory.find(&EkKey::Name(digest.try_into().ok()?))
    };
    trust.inventory.find(&EkKey::Spki(sha256)).or_else(by_name)
}

type Believed = Result<(CertificateFacts, TpmClass), EkCertificateError>;

/// The outer error is a lie (a certificate of another key), for which no inventory line makes up.
fn believe(
    nv: &[u8],
    chain: &[Vec<u8>],
    ek_spki: &[u8],
    trust: &Trust,
    enrolled_before: bool,
    now: SystemTime,
) -> Result<Believed, EnrolmentError> {
    let certificate = match EkCertificate::read(nv) {
        Ok(certificate) => certificate,
        Err(error) => return Ok(Err(error)),
    };
    if certificate.spki != ek_spki {
        let (certified, presented) = (hex(&sha256(&certificate.spki)), hex(&sha256(ek_spki)));
        return Err(EnrolmentError::OtherKey { certified, presented });
    }
    let tolerate_expired = match trust.expired {
        ExpiredPolicy::Enforce => false,
        ExpiredPolicy::AtEnrolment => enrolled_before,
        ExpiredPolicy::Ignore => true,
    };
    Ok(lead_to_root(certificate, chain, trust, tolerate_expired, now))
}

/// Judges an EK certificate that was kept, about whose key nothing else is known.
///
/// # Errors
/// The certificate's fault.
pub(crate) fn believe_kept(nv: &[u8], chain: &[Vec<u8>], trust: &Trust, now: SystemTime) -> Believed {
    let tolerate_expired = trust.expired == ExpiredPolicy::Ignore;
    lead_to_root(EkCertificate::read(nv)?, chain, trust, tolerate_expired, now)
}

/// Whether the vendor has revoked the EK certificate that `file` keeps, or one of its issuers', by the lists at hand. A
/// certificate that was not believed for another reason, or none, is not revoked.
#[must_use]
pub fn is_revoked(file: &EvidenceFile, trust: &Trust, now: SystemTime) -> bool {
    let Some(nv) = &file.ek_certificate else { return false };
    let believed = EkCertificate::read(nv).and_then(|it| lead_to_root(it, &file.ek_chain, trust, true, now));
    matches!(believed, Err(EkCertificateError::Revoked))
}

fn lead_to_root(
    certificate: EkCertificate,
    chain: &[Vec<u8>],
    trust: &Trust,
    tolerate_expired: bool,
    now: SystemTime,
) -> Believed {
    verify_path(&certificate, chain, trust, unix_seconds(now), tolerate_expired)?;
    let class = classify(&certificate.attributes, &certificate.issuer);
    let sha256 = sha256(&certificate.der);
    let EkCertificate {
        attributes,
        issuer,
        serial,
        not_before,
        not_after,
        ..
    } = certificate;
    Ok((
        CertificateFacts {
            attributes,
            issuer,
            serial,
            not_before,
            not_after,
            sha256,
        },
        class,
    ))
}

/// A clock before 1970 counts as 1970: then nothing is valid yet.
fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
