//! The verification of client certificates by the rules of SPIFFE.

use std::{net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use hallmark_host::log::LogThrottle;
use hallmark_spiffe::x509::{ChainError, VerifiedLeaf};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::{
    authority::ActiveAuthority,
    journal::Journal,
    limits::{Limits, Network, Occupant},
};

/// Who connects over TLS: how many there may be, and whether what they show is good.
#[derive(Debug, Clone)]
pub struct Clients {
    journal: Arc<Journal>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    limits: Arc<Limits>,
}

impl Clients {
    /// Clients within `limits`, with SVIDs of `authority`, of which some are nodes of `journal`.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, authority: Arc<ArcSwap<ActiveAuthority>>, limits: Arc<Limits>) -> Self {
        Self {
            journal,
            authority,
            limits,
        }
    }

    /// The place of a connection from `address`; `None` where there is none left for it.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Occupant> {
        self.limits.connections.admit(self.limits.origin(address))
    }

    /// Verifies a client's chain against the bundle of the moment.
    ///
    /// # Errors
    /// When the chain breaks a rule of the X509-SVID profile or leads to no authority of the bundle.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedLeaf, ChainError> {
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        let now = self.journal.clock().now();
        self.authority.load().authorities.verify(&chain, now)
    }

    /// Whether this server's own authority issued it: a serial number, by which nodes and roles are known, says nothing otherwise.
    pub(super) fn is_own(&self, leaf: &VerifiedLeaf) -> bool {
        self.authority.load().is_own_key(&leaf.issuer_spki)
    }

    /// Notes the network of a node that is served: it has proven itself.
    pub(super) fn note_node(&self, leaf: &VerifiedLeaf, address: IpAddr) {
        if self.journal.node(&leaf.id).is_some_and(|row| row.state.is_served()) {
            self.limits.known.insert(Network::of(address), Instant::now());
        }
    }
}

/// Verifies what clients show against the bundle of the moment, by the server's clock.
#[derive(Debug)]
pub struct ClientVerifier {
    clients: Clients,
    algorithms: WebPkiSupportedAlgorithms,
    refused: LogThrottle,
}

impl ClientVerifier {
    pub(super) fn new(clients: Clients, provider: &CryptoProvider) -> Self {
        Self {
            clients,
            algorithms: provider.signature_verification_algorithms,
            refused: LogThrottle::new(),
        }
    }
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
        match self.clients.verify(&chain) {
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
