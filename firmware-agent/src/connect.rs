//! Connections to the server: TCP, TLS, and a gRPC channel over it.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hallmark_evidence::{EXPORTER_LABEL, EXPORTER_LEN};
use hallmark_tpm::TpmError;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    runtime::Handle,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::{AgentError, tls::Refusal};

/// How long TCP, and then TLS, may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// Where the server is.
#[derive(Debug, Clone)]
pub struct Target {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn unreachable(&self, detail: &impl ToString) -> AgentError {
        AgentError::Unreachable {
            address: self.address(),
            detail: detail.to_string(),
        }
    }

    fn name(&self) -> Result<ServerName<'static>, AgentError> {
        ServerName::try_from(self.host.clone()).map_err(|error| self.unreachable(&error))
    }
}

/// One connection without a client certificate, for an attestation. It is not made again when it breaks: what is
/// attested over it is bound to it.
pub struct Anonymous {
    /// The calls go here.
    pub channel: Channel,
    /// The connection's TLS exporter.
    pub exporter: [u8; EXPORTER_LEN],
}

/// Opens a connection without a client certificate.
///
/// # Errors
/// The server cannot be reached, or is not the trust domain's.
pub async fn anonymous(target: &Target, config: ClientConfig) -> Result<Anonymous, AgentError> {
    let stream = handshake(target, Arc::new(config)).await?;
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, None)
        .map_err(|error| AgentError::System {
            detail: error.to_string(),
        })?;
    let mut once = Some(stream);
    let connector = service_fn(move |_| {
        let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream.map(TokioIo::new) }
    });
    let channel = endpoint()
        .connect_with_connector(connector)
        .await
        .map_err(|error| target.unreachable(&error))?;
    Ok(Anonymous { channel, exporter })
}

/// Numbers connections, so that no two of this process have the same.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// One connection of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionNumber(NonZeroU64);

/// The newest connection of a channel.
#[derive(Debug, Clone, Default)]
pub struct NewestConnection(Arc<AtomicU64>);

impl NewestConnection {
    /// Its number; `None` before the first one.
    pub(crate) fn number(&self) -> Option<ConnectionNumber> {
        NonZeroU64::new(self.0.load(Ordering::SeqCst)).map(ConnectionNumber)
    }

    fn made(&self) {
        self.0.store(NUMBERS.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// A channel that connects with the agent's certificate when it is first used, and again when the connection ends.
/// Handshakes run on a blocking thread, since the TPM signs in them.
#[must_use]
pub fn mutual(target: &Target, config: ClientConfig) -> (Channel, NewestConnection) {
    let target = target.clone();
    let config = Arc::new(config);
    counted(move || {
        let (target, config) = (target.clone(), Arc::clone(&config));
        async move {
            let runtime = Handle::current();
            match spawn_blocking(move || runtime.block_on(handshake(&target, config))).await {
                Ok(connected) => connected.map_err(io::Error::other),
                Err(error) => Err(io::Error::other(error)),
            }
        }
    })
}

/// A channel over connections that `open` makes, one after the other, when they are needed.
pub(crate) fn counted<S, F>(open: impl Fn() -> F + Send + Sync + 'static) -> (Channel, NewestConnection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let newest = NewestConnection::default();
    let made = newest.clone();
    let connector = service_fn(move |_| {
        let (opening, made) = (open(), made.clone());
        async move {
            let stream = opening.await?;
            // Before the first call goes over it.
            made.made();
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    (endpoint().connect_with_connector_lazy(connector), newest)
}

/// The URI is only a form: the connector knows where to go, and TLS is its work.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://hallmark-server")
        .timeout(CALL)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
}

/// Most addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// A connection to the first address of a host that answers. One that says nothing takes its share of `limit`, and not all of
/// it from the others.
pub(crate) async fn tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let found = timeout(limit, lookup_host((host, port))).await.map_err(slow)??;
    first_of(&found.take(ADDRESSES).collect::<Vec<_>>(), limit).await
}

async fn first_of(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let share = limit
        .checked_div(u32::try_from(addresses.len()).unwrap_or(1))
        .unwrap_or(limit);
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(share, TcpStream::connect(address))
            .await
            .map_err(slow)
            .flatten()
        {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(failed)
}

async fn handshake(target: &Target, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, AgentError> {
    let tcp = tcp(&target.host, target.port, CONNECT)
        .await
        .map_err(|error| target.unreachable(&error))?;
    tcp.set_nodelay(true).map_err(|error| target.unreachable(&error))?;
    timeout(CONNECT, TlsConnector::from(config).connect(target.name()?, tcp))
        .await
        .map_err(|error| target.unreachable(&error))?
        .map_err(|error| tls_failure(target, &error))
}

/// What the TLS library met: the TPM that did not sign, a certificate that was not accepted, or a connection that broke.
fn tls_failure(target: &Target, error: &io::Error) -> AgentError {
    use rustls::{CertificateError, Error::InvalidCertificate, Error::Other};
    let untrusted = |detail: &dyn ToString| AgentError::Untrusted {
        address: target.address(),
        detail: detail.to_string(),
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(InvalidCertificate(CertificateError::Other(refusal))) => match refusal.0.downcast_ref() {
            Some(Refusal::Clock(detail)) => AgentError::Clock {
                detail: format!("the server at {}: {detail}", target.address()),
            },
            _ => untrusted(&refusal.0),
        },
        Some(Other(own)) => match own.0.downcast_ref::<TpmError>() {
            Some(tpm) => tpm.clone().into(),
            None => untrusted(&own.0),
        },
        Some(InvalidCertificate(other)) => untrusted(other),
        Some(other) => AgentError::OtherProtocol {
            address: target.address(),
            detail: other.to_string(),
        },
        None => target.unreachable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that swallows what comes to one of its addresses, as a tunnel or a firewall does.
    #[tokio::test]
    async fn an_address_that_says_nothing_leaves_time_for_the_others() {
        let swallows = tokio::net::TcpSocket::new_v4().unwrap();
        swallows.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let swallows = swallows.listen(0).unwrap();
        let silent = swallows.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            waiting.push(stream.unwrap());
        }
        let answers = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = answers.local_addr().unwrap();
        let limit = Duration::from_secs(1);
        let stream = first_of(&[silent, good], limit).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = first_of(&[silent], limit).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains(&silent.to_string()), "{error}");
    }
}
