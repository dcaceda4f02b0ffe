//! A software key and its certificate, as rustls takes them.

use hallmark_api::types::X509svid;
use hallmark_verify::testing::SoftwareKey;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// What a client or a server shows: a certificate chain, and a P-256 key that need not fit it.
#[derive(Debug)]
pub struct SoftwareIdentity(Arc<CertifiedKey>);

impl SoftwareIdentity {
    /// A chain (leaf first, DER) with a key.
    #[must_use]
    pub fn new(chain: Vec<Vec<u8>>, key: impl Into<Arc<SoftwareKey>>) -> Arc<Self> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let hand = Arc::new(Hand(key.into()));
        Arc::new(Self(Arc::new(CertifiedKey::new(chain, hand))))
    }

    /// An SVID with a key.
    #[must_use]
    pub fn of(svid: &X509svid, key: SoftwareKey) -> Arc<Self> {
        Self::new(svid.cert_chain.iter().map(|der| der.to_vec()).collect(), key)
    }
}

impl ResolvesClientCert for SoftwareIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for SoftwareIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[derive(Debug, Clone)]
struct Hand(Arc<SoftwareKey>);

impl SigningKey for Hand {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        if offered.contains(&SCHEME) {
            Some(Box::new(self.clone()))
        } else {
            None
        }
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Hand {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign_x509(message))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
