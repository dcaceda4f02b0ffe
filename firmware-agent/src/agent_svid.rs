//! The agent's own identity: an SVID whose key is in the TPM.

use std::time::{Duration, SystemTime};

use hallmark_api::types;
use hallmark_spiffe::{
    Bundle, SpiffeId,
    x509::{ChainError, MAX_CHAIN, SerialHex},
};
use hallmark_tpm::{KeyId, TpmHandle, Unique};
use hallmark_tpm_wire::PublicArea;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{AgentError, attester::NextKey, convert, jitter::Jitter, tls::TpmSigner};

/// An SVID that was checked against its key, the id that was expected, and the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSvid {
    /// The agent's SPIFFE ID.
    pub id: SpiffeId,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The key in the TPM.
    pub key: KeyId,
    /// What the key is made from.
    pub unique: Unique,
    /// The key's public area.
    pub public: PublicArea,
    /// The key's certificate request, kept so that attesting the same key again costs no signature.
    pub csr: Vec<u8>,
    /// The leaf's serial number, hex.
    pub serial: String,
    /// The leaf's notBefore.
    pub not_before: SystemTime,
    /// The leaf's notAfter.
    pub not_after: SystemTime,
    /// When it is to be renewed: at 45 to 55 % of its life.
    pub renew_at: SystemTime,
}

impl AgentSvid {
    /// Checks an issued SVID.
    ///
    /// # Errors
    /// The chain does not verify, or the leaf has another id or another key than expected.
    pub(crate) fn accept(
        key: &NextKey,
        svid: types::X509svid,
        expected: &SpiffeId,
        bundle: &Bundle,
    ) -> Result<Self, AgentError> {
        let told = convert::spiffe_id(svid.id);
        if told.as_ref() != Some(expected) {
            let found = told.map_or_else(|| "none".to_owned(), |id| id.to_string());
            return Err(unfit("its id", &expected.to_string(), &found));
        }
        let chain = svid.cert_chain.iter().map(|der| der.to_vec()).collect();
        Self::from_chain(key, chain, expected, bundle, SystemTime::now())
    }

    /// As [`Self::accept`], for a chain from the state file.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub(crate) fn from_chain(
        key: &NextKey,
        chain: Vec<Vec<u8>>,
        expected: &SpiffeId,
        bundle: &Bundle,
        now: SystemTime,
    ) -> Result<Self, AgentError> {
        let leaf = check_chain(&chain, expected, bundle, now)?;
        let spki = key.public.spki_der().map_err(|error| AgentError::Key {
            detail: error.to_string(),
        })?;
        if leaf.spki != spki {
            return Err(unfit("its key", &hex::encode(spki), &hex::encode(&leaf.spki)));
        }
        let (not_before, not_after) = validity(&chain)?;
        Ok(Self {
            id: leaf.id,
            key: key.id,
            unique: key.unique,
            public: key.public.clone(),
            csr: key.csr.clone(),
            serial: SerialHex(&leaf.serial).to_string(),
            renew_at: Jitter::renewal(not_before, not_after),
            not_before,
            not_after,
            chain,
        })
    }

    /// Whether it is valid at `now`.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// What TLS signs with.
    #[must_use]
    pub fn signer(&self, tpm: &TpmHandle) -> TpmSigner {
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        TpmSigner::new(tpm.clone(), self.key, chain)
    }
}

/// Verifies a chain for an expected id.
///
/// # Errors
/// The chain does not verify (a clock that is far off is told apart), or the id is another.
pub(crate) fn check_chain(
    chain: &[Vec<u8>],
    expected: &SpiffeId,
    bundle: &Bundle,
    now: SystemTime,
) -> Result<hallmark_spiffe::x509::VerifiedLeaf, AgentError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(unfit("its chain", "1 to 8 certificates", &chain.len().to_string()));
    }
    let slices: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let authorities = bundle.authorities().map_err(|error| AgentError::Bundle {
        detail: error.to_string(),
    })?;
    let leaf = authorities.verify(&slices, now).map_err(|error| chain_fault(&error))?;
    if leaf.id != *expected {
        return Err(unfit("its id", &expected.to_string(), &leaf.id.to_string()));
    }
    Ok(leaf)
}

fn chain_fault(error: &ChainError) -> AgentError {
    match error {
        ChainError::Expired { .. } | ChainError::NotYetValid { .. } => AgentError::Clock {
            detail: error.to_string(),
        },
        _ => AgentError::UnfitSvid {
            what: "its chain",
            compared: error.to_string(),
        },
    }
}

/// notBefore and notAfter of a chain's leaf.
pub(crate) fn validity(chain: &[Vec<u8>]) -> Result<(SystemTime, SystemTime), AgentError> {
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| unfit("its leaf", "a certificate", &error.to_string()))?;
    let validity = certificate.validity();
    Ok((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}

fn at(unix_seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

fn unfit(what: &'static str, expected: &str, found: &str) -> AgentError {
    AgentError::UnfitSvid {
        what,
        compared: format!("expected {expected}, found {found}"),
    }
}
