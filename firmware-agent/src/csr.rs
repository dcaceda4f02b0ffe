//! Certificate requests (PKCS#10). A request carries the key; the server takes nothing else from it.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use hallmark_tpm::{KeyId, TpmHandle};
use hallmark_tpm_wire::{PublicArea, PublicKind};
use rcgen::{
    CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use zeroize::Zeroizing;

use crate::{AgentError, digest::sha256};

/// A fresh P-256 key for a workload, with its request.
pub(crate) struct WorkloadKey {
    /// The key as PKCS#8 DER.
    pub(crate) pkcs8: Zeroizing<Vec<u8>>,
    /// The request, DER.
    pub(crate) csr: Vec<u8>,
    /// The public key as an uncompressed point.
    pub(crate) point: Vec<u8>,
}

impl WorkloadKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(crate) fn generate() -> Result<Self, AgentError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|error| fault(&error))?;
        let document = pair.to_pkcs8v1().map_err(|error| fault(&error))?;
        let point = pair.public_key().as_ref().to_vec();
        let csr = request(&SoftwareKey {
            pair,
            point: point.clone(),
        })?;
        Ok(Self {
            pkcs8: Zeroizing::new(document.as_ref().to_vec()),
            csr,
            point,
        })
    }
}

/// The request for an SVID key in the TPM; costs one signature. Blocks the calling thread meanwhile.
///
/// # Errors
/// The TPM does not sign, or the key is not P-256.
pub(crate) fn for_tpm_key(tpm: &TpmHandle, key: KeyId, public: &PublicArea) -> Result<Vec<u8>, AgentError> {
    let PublicKind::Ecc(ecc) = public.kind() else {
        return Err(AgentError::Key {
            detail: "the SVID key is no ECC key".into(),
        });
    };
    request(&TpmKey {
        tpm: tpm.clone(),
        key,
        point: ecc.uncompressed_point(),
    })
}

fn request(key: &impl SigningKey) -> Result<Vec<u8>, AgentError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(key).map_err(|error| fault(&error))?;
    Ok(csr.der().to_vec())
}

fn fault(error: &impl ToString) -> AgentError {
    AgentError::Key {
        detail: error.to_string(),
    }
}

struct SoftwareKey {
    pair: EcdsaKeyPair,
    point: Vec<u8>,
}

impl PublicKeyData for SoftwareKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for SoftwareKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

struct TpmKey {
    tpm: TpmHandle,
    key: KeyId,
    point: Vec<u8>,
}

impl PublicKeyData for TpmKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TpmKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.tpm.sign_blocking(self.key, sha256(message)).map_err(|error| {
            tracing::warn!(%error, "the TPM did not sign a certificate request");
            rcgen::Error::RemoteKeyError
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

    #[test]
    fn a_workload_key_signs_its_own_request_and_no_two_are_equal() {
        let key = WorkloadKey::generate().unwrap();
        let (_, csr) = X509CertificationRequest::from_der(&key.csr).unwrap();
        csr.verify_signature().unwrap();
        assert_eq!(
            csr.certification_request_info
                .subject_pki
                .subject_public_key
                .data
                .as_ref(),
            key.point
        );
        let from_pkcs8 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.pkcs8).unwrap();
        assert_eq!(from_pkcs8.public_key().as_ref(), key.point);
        assert_ne!(WorkloadKey::generate().unwrap().point, key.point);
    }
}
