//! The node's first message: who it says it is.

use hallmark_tpm_wire::PublicArea;

use crate::{
    error::EvidenceError,
    limits::{Limits, check_version},
};

/// A claim as it came: bytes, of which nothing is known.
#[derive(Debug, Clone, Copy)]
pub struct RawClaim<'a, C> {
    /// The payload's version.
    pub version: u32,
    /// X.509 DER; empty for none.
    pub ek_certificate: &'a [u8],
    /// X.509 DER of intermediates, any order.
    pub ek_chain: &'a [C],
    /// `TPMT_PUBLIC`.
    pub ek_public: &'a [u8],
    /// `TPMT_PUBLIC`.
    pub ak_public: &'a [u8],
    /// `TPMT_PUBLIC`.
    pub svid_public: &'a [u8],
    /// PKCS #10 DER.
    pub csr: &'a [u8],
    /// The number of the agent's run.
    pub session: u64,
}

/// What a node says of its keys, decoded and not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The endorsement key's certificate as the TPM's NV memory holds it, if it does; wrapper and padding included.
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediate certificates from NV, any order.
    pub ek_chain: Vec<Vec<u8>>,
    /// The endorsement key.
    pub ek_public: PublicArea,
    /// The attestation key.
    pub ak_public: PublicArea,
    /// The key that the SVID is for.
    pub svid_public: PublicArea,
    /// The certificate request, DER.
    pub csr: Vec<u8>,
    /// The number that the agent drew when it started.
    pub session: u64,
}

impl Claim {
    /// Decodes a claim within [`Limits`].
    ///
    /// # Errors
    /// The version is another, a field is over its limit, the request or the session is missing, or a public area is malformed or too weak: the sender is not
    /// a Hallmark agent of a fitting version, or hostile.
    pub fn decode<C: AsRef<[u8]>>(raw: &RawClaim<'_, C>) -> Result<Self, EvidenceError> {
        check_version(raw.version)?;
        Limits::check("EK certificate", raw.ek_certificate.len(), Limits::CERTIFICATE)?;
        Limits::check("EK certificate chain", raw.ek_chain.len(), Limits::CHAIN)?;
        for certificate in raw.ek_chain {
            Limits::check("EK chain certificate", certificate.as_ref().len(), Limits::CERTIFICATE)?;
        }
        Limits::check("certificate request", raw.csr.len(), Limits::CSR)?;
        if raw.csr.is_empty() {
            return Err(EvidenceError::Missing {
                field: "certificate request",
            });
        }
        if raw.session == 0 {
            return Err(EvidenceError::Missing { field: "session" });
        }
        Ok(Self {
            ek_certificate: (!raw.ek_certificate.is_empty()).then(|| raw.ek_certificate.to_vec()),
            ek_chain: raw
                .ek_chain
                .iter()
                .map(|certificate| certificate.as_ref().to_vec())
                .collect(),
            ek_public: area("EK public area", raw.ek_public)?,
            ak_public: area("AK public area", raw.ak_public)?,
            svid_public: area("SVID key public area", raw.svid_public)?,
            csr: raw.csr.to_vec(),
            session: raw.session,
        })
    }
}

fn area(field: &'static str, bytes: &[u8]) -> Result<PublicArea, EvidenceError> {
    PublicArea::parse(bytes).map_err(EvidenceError::structure(field))
}
