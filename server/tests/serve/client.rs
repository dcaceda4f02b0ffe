//! Clients: over TLS, with or without a certificate, and over the admin socket.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use hallmark_attacks::SoftwareIdentity;
use hallmark_server::tls::provider;
use hallmark_spiffe::{Bundle, TrustDomain, x509};
use hallmark_verify::testing::SoftwareKey;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, SupportedKxGroup, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::lab::TRUST_DOMAIN;

/// Who a client is, and which server it takes: `spiffe://example.org/spire/server` by this bundle.
pub(crate) struct Client {
    bundle: Vec<Vec<u8>>,
    identity: Option<Arc<SoftwareIdentity>>,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    /// How keys are agreed on, by name; every way when there is none.
    groups: Vec<&'static str>,
}

impl Client {
    /// Without a certificate.
    pub(crate) fn anonymous(bundle: &Bundle) -> Self {
        let versions = vec![&rustls::version::TLS13];
        Self {
            bundle: bundle.x509_authorities.clone(),
            identity: None,
            versions,
            groups: Vec::new(),
        }
    }

    /// With a certificate chain and its key.
    pub(crate) fn with(mut self, chain: Vec<Vec<u8>>, key: impl Into<Arc<SoftwareKey>>) -> Self {
        self.identity = Some(SoftwareIdentity::new(chain, key));
        self
    }

    pub(crate) fn tls12(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS12];
        self
    }

    /// One that agrees on keys by these groups alone.
    pub(crate) fn groups(mut self, groups: &[&'static str]) -> Self {
        self.groups = groups.to_vec();
        self
    }

    pub(crate) async fn handshake(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("whatever.invalid").unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, stream).await
    }

    /// A channel over one connection made now.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Channel> {
        let mut stream = Some(self.handshake(address).await?);
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| io::Error::other("the one connection is used up")) }
        });
        Endpoint::from_static("http://server")
            .connect_with_connector(connector)
            .await
            .map_err(io::Error::other)
    }

    fn config(&self) -> ClientConfig {
        let mut provider = CryptoProvider::clone(&provider());
        if !self.groups.is_empty() {
            let known = |group: &&dyn SupportedKxGroup| self.groups.iter().any(|name| group_name(*group) == *name);
            provider.kx_groups.retain(known);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Spiffe(self.bundle.clone())));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::<SoftwareIdentity>::clone(identity)),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// The admin socket.
pub(crate) async fn local(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://local")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

/// As agents verify a server: path to the bundle, and the exact SPIFFE ID.
#[derive(Debug)]
struct Spiffe(Vec<Vec<u8>>);

impl ServerCertVerifier for Spiffe {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(intermediates).map(AsRef::as_ref).collect();
        let roots: Vec<&[u8]> = self.0.iter().map(Vec::as_slice).collect();
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        let id = x509::verify_chain(&chain, &roots, &trust_domain, now).map_err(|e| Error::General(e.to_string()))?;
        if id.as_str() == "spiffe://example.org/spire/server" {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!("unexpected server {id}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A group by its name in the registry.
pub(crate) fn group_name(group: &dyn SupportedKxGroup) -> String {
    format!("{:?}", group.name())
}
