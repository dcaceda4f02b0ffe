//! The node's answer to the challenge.

use std::fmt;

use hallmark_tpm_wire::{Attest, HashAlg, PcrValues, PublicArea, Signature, WireError};
use zeroize::Zeroizing;

use crate::{
    error::EvidenceError,
    limits::{Limits, check_version},
    log::{LogDigest, LogKind},
};

/// An attestation structure with its signature, as they came.
#[derive(Debug, Clone, Copy)]
pub struct RawSigned<'a> {
    /// `TPMS_ATTEST`.
    pub attest: &'a [u8],
    /// `TPMT_SIGNATURE`.
    pub signature: &'a [u8],
}

/// A PCR value as it came.
#[derive(Debug, Clone, Copy)]
pub struct RawPcrValue<'a> {
    /// `TPM_ALG_ID` of the bank.
    pub hash_alg: u32,
    /// The register.
    pub pcr: u32,
    /// The value.
    pub digest: &'a [u8],
}

/// A log as the proof announces it.
#[derive(Debug, Clone, Copy)]
pub struct RawLog<'a> {
    /// The kind's number.
    pub kind: i32,
    /// Where the data begins in the whole log.
    pub offset: u64,
    /// How many bytes follow.
    pub length: u64,
    /// SHA-256 of the bytes that follow.
    pub sha256: &'a [u8],
}

/// A proof as it came: bytes, of which nothing is known.
#[derive(Debug, Clone)]
pub struct RawProof<'a> {
    /// The payload's version.
    pub version: u32,
    /// What ActivateCredential gave; empty for none.
    pub activated_secret: &'a [u8],
    /// The certification of the SVID key.
    pub certify: RawSigned<'a>,
    /// The quote.
    pub quote: RawSigned<'a>,
    /// The values of the quoted registers.
    pub pcr_values: Vec<RawPcrValue<'a>>,
    /// The logs that follow.
    pub logs: Vec<RawLog<'a>>,
}

/// A `TPMS_ATTEST` and the `TPMT_SIGNATURE` over it, of bounded size and not decoded: the signature is over the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

impl Signed {
    /// Takes both structures within their limits.
    ///
    /// # Errors
    /// One of them is empty or over its limit.
    pub fn new(raw: &RawSigned<'_>) -> Result<Self, EvidenceError> {
        for (field, bytes, limit) in [
            ("attestation structure", raw.attest, Attest::MAX_LEN),
            ("attestation signature", raw.signature, Signature::MAX_LEN),
        ] {
            if bytes.is_empty() {
                return Err(EvidenceError::Missing { field });
            }
            Limits::check(field, bytes.len(), limit)?;
        }
        Ok(Self {
            attest: raw.attest.to_vec(),
            signature: raw.signature.to_vec(),
        })
    }

    /// The attestation structure, once its signature by `key` holds.
    ///
    /// # Errors
    /// Either structure is malformed, or the signature is not one of `key` over it.
    pub fn verified_by(&self, key: &PublicArea) -> Result<Attest, WireError> {
        Signature::parse(&self.signature)?.verify(key, &self.attest)?;
        Attest::parse(&self.attest)
    }
}

/// What a node answers to a challenge, decoded and not believed.
#[derive(Clone)]
pub struct Proof {
    /// What ActivateCredential gave, if a credential was sent. Never shown.
    pub activated_secret: Option<Zeroizing<Vec<u8>>>,
    /// The certification of the SVID key by the attestation key.
    pub certify: Signed,
    /// The quote by the attestation key.
    pub quote: Signed,
    /// The values of the quoted registers.
    pub pcr_values: PcrValues,
    /// The logs that follow, each kind at most once, in the order of the binding.
    pub logs: Vec<LogDigest>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("activated_secret", &self.activated_secret.as_ref().map(|_| "secret"))
            .field("certify", &self.certify)
            .field("quote", &self.quote)
            .field("pcr_values", &self.pcr_values)
            .field("logs", &self.logs.len())
            .finish()
    }
}

impl Proof {
    /// Decodes a proof within [`Limits`].
    ///
    /// # Errors
    /// The version is another, a field is missing or over its limit, a PCR value does not fit its bank or comes twice, or a log is of an unknown
    /// kind, comes twice, or has no SHA-256.
    pub fn decode(raw: &RawProof<'_>) -> Result<Self, EvidenceError> {
        check_version(raw.version)?;
        Limits::check("activated secret", raw.activated_secret.len(), Limits::SECRET)?;
        let secret = (!raw.activated_secret.is_empty()).then(|| Zeroizing::new(raw.activated_secret.to_vec()));
        Ok(Self {
            activated_secret: secret,
            certify: Signed::new(&raw.certify)?,
            quote: Signed::new(&raw.quote)?,
            pcr_values: decode_pcr_values(&raw.pcr_values)?,
            logs: decode_logs(&raw.logs)?,
        })
    }
}

fn decode_pcr_values(raw: &[RawPcrValue<'_>]) -> Result<PcrValues, EvidenceError> {
    Limits::check("PCR values", raw.len(), Limits::PCR_VALUES)?;
    let mut values = PcrValues::new();
    for value in raw {
        let unknown = EvidenceError::UnknownBank { value: value.hash_alg };
        let bank = u16::try_from(value.hash_alg)
            .ok()
            .and_then(HashAlg::from_id)
            .ok_or(unknown)?;
        let pcr = u8::try_from(value.pcr)
            .ok()
            .filter(|pcr| *pcr < 32)
            .ok_or(EvidenceError::UnknownRegister { value: value.pcr })?;
        // Checked before the copy, so that a value is never copied beyond its bank's digest.
        Limits::check("PCR value", value.digest.len(), HashAlg::Sha512.digest_len())?;
        values
            .insert(bank, pcr, value.digest.to_vec())
            .map_err(EvidenceError::structure("PCR values"))?;
    }
    Ok(values)
}

fn decode_logs(raw: &[RawLog<'_>]) -> Result<Vec<LogDigest>, EvidenceError> {
    Limits::check("logs", raw.len(), Limits::LOGS)?;
    let mut logs: Vec<LogDigest> = Vec::new();
    for log in raw {
        let kind = LogKind::from_number(log.kind)?;
        if logs.iter().any(|other| other.kind == kind) {
            return Err(EvidenceError::DuplicateLog(kind.as_str()));
        }
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits::check("log", size(log.length), kind.limit())?;
        Limits::check(
            "whole log",
            size(log.offset.saturating_add(log.length)),
            kind.kept_limit(),
        )?;
        let sha256 = log.sha256.try_into().map_err(|_| EvidenceError::LogDigest {
            actual: log.sha256.len(),
        })?;
        logs.push(LogDigest {
            kind,
            offset: log.offset,
            length: log.length,
            sha256,
        });
    }
    Ok(logs)
}
