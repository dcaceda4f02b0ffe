//! rustls signs with the TPM.

use std::{fmt, sync::Arc};

use hallmark_tpm::{KeyId, TpmHandle};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::CertificateDer,
    sign::{CertifiedKey, Signer, SigningKey},
};

use crate::digest::sha256;

/// The agent's certificate chain with its key in the TPM.
///
/// A signature blocks the calling thread for as long as the chip takes; handshakes with it run on blocking threads.
#[derive(Clone)]
pub struct TpmSigner {
    tpm: TpmHandle,
    key: KeyId,
    certified: Arc<Vec<CertificateDer<'static>>>,
}

impl TpmSigner {
    /// A signer for the key that the leaf of `chain` is for.
    #[must_use]
    pub fn new(tpm: TpmHandle, key: KeyId, chain: Vec<CertificateDer<'static>>) -> Self {
        Self {
            tpm,
            key,
            certified: Arc::new(chain),
        }
    }
}

impl fmt::Debug for TpmSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmSigner")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl ResolvesClientCert for TpmSigner {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Arc::new(CertifiedKey::new(self.certified.to_vec(), Arc::new(self.clone()))))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl SigningKey for TpmSigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        if offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256) {
            Some(Box::new(self.clone()))
        } else {
            None
        }
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TpmSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.tpm
            .sign_blocking(self.key, sha256(message))
            .map_err(|error| rustls::Error::Other(rustls::OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
