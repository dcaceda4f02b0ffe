//! A SPIRE server above, or another hallmark-server: its calls `NewDownstreamX509CA`, `GetBundle` and `PublishJWTAuthority`, as the holder
//! of an X509-SVID with `downstream` that an agent on this machine gives.

mod tls;
mod workload;

use std::{future::Future, io, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use hallmark_api::{
    bundle::{GetBundleRequest, PublishJwtAuthorityRequest, bundle_client::BundleClient},
    svid::{NewDownstreamX509caRequest, svid_client::SvidClient},
    types,
};
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::TrustDomain;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{Asked, JwtKey, Signed, Upstream, UpstreamError};

/// How long a call may take, with the SVID for it and the connection.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 512 * 1024;
/// The most certificates or keys of an answer.
const MAX_ITEMS: usize = 256;

/// Where the server above is, and who gives the SVID for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpireSettings {
    /// A name or an IP address.
    pub server_address: String,
    /// The port of its TLS listener.
    pub server_port: u16,
    /// The Workload API socket of an agent that is attested at the server above.
    pub workload_api_socket: PathBuf,
}

/// Why the server above did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpireError {
    /// It, or the agent that gives the SVID for it, cannot be reached, or refuses.
    #[error("the server above: {what}")]
    Away {
        /// What was tried, and what came of it.
        what: String,
    },
    /// An answer does not read.
    #[error("the server above: the answer does not read: {what}")]
    Unreadable {
        /// What is wrong.
        what: String,
    },
}

impl Coded for SpireError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Away { .. } => ReasonCode::new("HM-SRV-0048"),
            Self::Unreadable { .. } => ReasonCode::new("HM-SRV-0049"),
        }
    }

    fn compared(&self) -> Option<String> {
        None
    }
}

impl SpireError {
    fn away(tried: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::Away {
            what: format!("{tried}: {cause}"),
        }
    }

    fn unreadable(what: impl Into<String>) -> Self {
        Self::Unreadable { what: what.into() }
    }

    fn refused(call: &str, status: &Status) -> Self {
        let words: String = status.message().chars().take(500).collect();
        match hallmark_api::too_large(status.message()) {
            Some(sizes) => Self::unreadable(format!("{call}: {sizes}")),
            None => Self::away(call, format!("{:?}: {words}", status.code())),
        }
    }
}

/// A server above, reached anew for each call: with the SVID and the bundle that the agent gives then.
#[derive(Debug, Clone)]
pub struct SpireUpstream {
    trust_domain: TrustDomain,
    settings: SpireSettings,
}

impl SpireUpstream {
    /// The server above of this trust domain.
    #[must_use]
    pub const fn new(trust_domain: TrustDomain, settings: SpireSettings) -> Self {
        Self { trust_domain, settings }
    }

    fn address(&self) -> String {
        format!("{}:{}", self.settings.server_address, self.settings.server_port)
    }

    /// A connection with the SVID of the moment.
    async fn connect(&self) -> Result<Channel, SpireError> {
        let credential = workload::credential(&self.settings.workload_api_socket, &self.trust_domain).await?;
        let config = tls::config(credential, &self.trust_domain)?;
        let address = self.address();
        let away = |cause: io::Error| SpireError::away(&address, cause);
        let target = (self.settings.server_address.as_str(), self.settings.server_port);
        let tcp = TcpStream::connect(target).await.map_err(away)?;
        tcp.set_nodelay(true).map_err(away)?;
        let mut stream = Some(tls::handshake(config, tcp).await.map_err(away)?);
        let connector = service_fn(move |_| {
            let stream = stream
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream.map(TokioIo::new) }
        });
        // The URI is only a form: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://server-above").timeout(LIMIT);
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| SpireError::away(self.address(), error))
    }

    async fn new_downstream(&self, asked: Asked) -> Result<Signed, SpireError> {
        let mut client = SvidClient::new(self.connect().await?).max_decoding_message_size(MAX_ANSWER);
        let request = NewDownstreamX509caRequest {
            csr: asked.csr.into(),
            preferred_ttl: i32::try_from(asked.lifetime.as_secs()).unwrap_or(i32::MAX),
        };
        let answer = client.new_downstream_x509ca(request).await;
        let answer = answer.map_err(|status| SpireError::refused("NewDownstreamX509CA", &status))?;
        let answer = answer.into_inner();
        Ok(Signed {
            chain: bounded(answer.ca_cert_chain)?.iter().map(|der| der.to_vec()).collect(),
            roots: bounded(answer.x509_authorities)?
                .iter()
                .map(|der| der.to_vec())
                .collect(),
        })
    }

    async fn bundle(&self) -> Result<types::Bundle, SpireError> {
        let mut client = BundleClient::new(self.connect().await?).max_decoding_message_size(MAX_ANSWER);
        let answer = client.get_bundle(GetBundleRequest::default()).await;
        let bundle = answer.map_err(|status| SpireError::refused("GetBundle", &status))?;
        let bundle = bundle.into_inner();
        if bundle.trust_domain.trim_start_matches("spiffe://") != self.trust_domain.as_str() {
            return Err(SpireError::unreadable("the bundle is of another trust domain"));
        }
        Ok(bundle)
    }

    async fn publish(&self, key: JwtKey) -> Result<(), SpireError> {
        let mut client = BundleClient::new(self.connect().await?).max_decoding_message_size(MAX_ANSWER);
        let request = PublishJwtAuthorityRequest {
            jwt_authority: Some(types::JwtKey {
                public_key: key.public_key.into(),
                key_id: key.key_id,
                expires_at: key.expires_at,
                tainted: false,
            }),
        };
        let answer = client.publish_jwt_authority(request).await;
        answer
            .map(drop)
            .map_err(|status| SpireError::refused("PublishJWTAuthority", &status))
    }
}

impl Upstream for SpireUpstream {
    fn name(&self) -> String {
        format!("spire {}", self.address())
    }

    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>> {
        within(self.new_downstream(asked))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        within(async {
            let roots = bounded(self.bundle().await?.x509_authorities)?;
            Ok(Some(roots.into_iter().map(|it| it.asn1.to_vec()).collect()))
        })
    }

    fn jwt_keys(&self) -> BoxFuture<'_, Result<Option<Vec<JwtKey>>, UpstreamError>> {
        within(async {
            let keys = bounded(self.bundle().await?.jwt_authorities)?.into_iter();
            let keys = keys.map(|it| JwtKey {
                key_id: it.key_id,
                public_key: it.public_key.to_vec(),
                expires_at: it.expires_at,
                tainted: it.tainted,
            });
            Ok(Some(keys.collect()))
        })
    }

    fn publish_jwt_key(&self, key: JwtKey) -> BoxFuture<'_, Result<(), UpstreamError>> {
        within(self.publish(key))
    }
}

fn bounded<T>(items: Vec<T>) -> Result<Vec<T>, SpireError> {
    if items.len() > MAX_ITEMS {
        let what = format!("{} certificates or keys, at most {MAX_ITEMS}", items.len());
        return Err(SpireError::unreadable(what));
    }
    Ok(items)
}

/// One call, with everything that it takes.
fn within<'a, T>(
    call: impl Future<Output = Result<T, SpireError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, UpstreamError>> {
    Box::pin(async {
        let done = timeout(LIMIT, call).await;
        let late = |_| SpireError::Away {
            what: format!("no answer within {} s", LIMIT.as_secs()),
        };
        done.map_err(late)
            .flatten()
            .map_err(|error| -> UpstreamError { Box::new(error) })
    })
}
