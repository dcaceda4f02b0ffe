//! The server is `spiffe://<trust domain>/spire/server`, certified by the trust domain. DNS names do not matter.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hallmark_spiffe::{
    SpiffeId, TrustDomain,
    x509::{self, Authorities, ChainError},
};
use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// What the server's certificate has to lead to.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// One of these sets of authorities; the first that verifies counts.
    Authorities(Vec<Arc<Authorities>>),
    /// Nothing: only the id in it is looked at.
    IdOnly,
}

/// Verifies the server's certificate and remembers the chain that was shown.
pub struct ServerVerifier {
    expected: SpiffeId,
    trust: ServerTrust,
    algorithms: WebPkiSupportedAlgorithms,
    shown: Mutex<Vec<Vec<u8>>>,
}

impl ServerVerifier {
    /// A verifier for the server of `trust_domain`.
    ///
    /// # Errors
    /// The trust domain's name is too long for the server's id.
    pub fn new(trust_domain: &TrustDomain, trust: ServerTrust) -> Result<Self, hallmark_spiffe::IdError> {
        Ok(Self {
            expected: SpiffeId::new(trust_domain, "/spire/server")?,
            trust,
            algorithms: super::provider().signature_verification_algorithms,
            shown: Mutex::default(),
        })
    }

    /// The chain of the last handshake, leaf first.
    #[must_use]
    pub fn shown_chain(&self) -> Vec<Vec<u8>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, chain: &[&[u8]], now: SystemTime) -> Result<(), Refusal> {
        let id = match &self.trust {
            ServerTrust::IdOnly => {
                let leaf = chain.first().copied().unwrap_or_default();
                x509::leaf_id(leaf).map_err(|error| Refusal::Untrusted(error.to_string()))?
            }
            ServerTrust::Authorities(sets) => first_verified(sets, chain, now)?,
        };
        if id == self.expected {
            Ok(())
        } else {
            Err(Refusal::Untrusted(format!("expected {}, found {id}", self.expected)))
        }
    }
}

fn first_verified(sets: &[Arc<Authorities>], chain: &[&[u8]], now: SystemTime) -> Result<SpiffeId, Refusal> {
    let mut refusal = Refusal::Untrusted("there are no authorities to check it with".into());
    for authorities in sets {
        match authorities.verify(chain, now) {
            Ok(leaf) => return Ok(leaf.id),
            Err(error) => refusal = Refusal::of(&error),
        }
    }
    Err(refusal)
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<&[u8]> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|der| der.as_ref())
            .collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        self.check(&chain, now).map_err(|refusal| {
            rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(refusal))))
        })?;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = chain.iter().map(|der| der.to_vec()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// Why a server's certificate was not accepted, in the words of the check.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is the trust domain's, and not valid at this machine's time.
    Clock(String),
    /// Anything else.
    Untrusted(String),
}

impl Refusal {
    fn of(error: &ChainError) -> Self {
        match error {
            ChainError::Expired { .. } | ChainError::NotYetValid { .. } => Self::Clock(error.to_string()),
            _ => Self::Untrusted(error.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Clock(words) | Self::Untrusted(words)) = self;
        f.write_str(words)
    }
}

impl std::error::Error for Refusal {}
