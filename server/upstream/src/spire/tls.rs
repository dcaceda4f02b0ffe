//! TLS to the server above: it is `spiffe://<trust domain>/spire/server`, by the bundle that the agent gives.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_spiffe::{SpiffeId, TrustDomain, x509::Authorities};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{SpireError, workload::Credential};

/// The configuration of one connection.
pub(super) fn config(credential: Credential, trust_domain: &TrustDomain) -> Result<ClientConfig, SpireError> {
    let roots: Vec<&[u8]> = credential.roots.iter().map(Vec::as_slice).collect();
    let unusable =
        |error: &dyn std::fmt::Display| SpireError::unreadable(format!("what the Workload API gives: {error}"));
    let authorities = Authorities::new(trust_domain, &roots).map_err(|error| unusable(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = ServerAbove {
        expected: SpiffeId::new(trust_domain, "/spire/server").map_err(|error| unusable(&error))?,
        authorities,
        algorithms: provider.signature_verification_algorithms,
    };
    let chain = credential.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credential.key.to_vec()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

pub(super) async fn handshake(config: ClientConfig, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    // Names do not matter: who it is, says its SPIFFE ID.
    let name = ServerName::try_from("server-above.invalid").map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[derive(Debug)]
struct ServerAbove {
    expected: SpiffeId,
    authorities: Authorities,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerAbove {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain: Vec<&[u8]> = chain.map(AsRef::as_ref).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let refused = |why: Arc<dyn std::error::Error + Send + Sync>| {
            rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(why)))
        };
        let leaf = self.authorities.verify(&chain, now);
        let leaf = leaf.map_err(|error| refused(Arc::new(error)))?;
        if leaf.id == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let what = format!("expected {}, found {}", self.expected, leaf.id);
        Err(refused(Arc::new(io::Error::other(what))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
