//! The verification of client certificates by the rules of SPIFFE.

use std::{sync::Arc, time::Instant};

use hallmark_host::log::LogThrottle;
use hallmark_spiffe::x509::{ChainError, VerifiedLeaf};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::server::Server;

/// Verifies what clients show against the bundle of the moment, by the server's clock.
#[derive(Debug)]
pub struct ClientVerifier {
    server: Arc<Server>,
    algorithms: WebPkiSupportedAlgorithms,
    refused: LogThrottle,
}

impl ClientVerifier {
    pub(super) fn new(server: Arc<Server>, provider: &CryptoProvider) -> Self {
        Self {
            server,
            algorithms: provider.signature_verification_algorithms,
            refused: LogThrottle::new(),
        }
    }
}

/// Verifies a client's chain against the bundle of the moment.
///
/// # Errors
/// When the chain breaks a rule of the X509-SVID profile or leads to no authority of the bundle.
pub(super) fn verify(server: &Server, chain: &[CertificateDer<'_>]) -> Result<VerifiedLeaf, ChainError> {
    let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    server.authority.load().authorities.verify(&chain, server.clock.now())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None: clients hold one identity and send that.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        match verify(&self.server, &chain) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(error) => {
                if let Some(left_out) = self.refused.due(Instant::now()) {
                    tracing::info!(%error, left_out, "client certificate refused");
                }
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(
                    Arc::new(error),
                ))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
