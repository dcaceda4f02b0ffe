//! The listener: TLS or plain, one request a connection, all of it bounded.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hallmark_host::{health::Address, log::LogThrottle};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{Certificate, answer::Site, certificate::tls, documents::Documents};
use crate::{
    authority::ActiveAuthority,
    clock::Clock,
    config::{ConfigError, Oidc},
    errors::StartError,
    limits::{Limits, Occupancy, Occupant},
    listener::{Access, BoundSocket, bind},
    metrics::{Metrics, OidcAnswer},
};

/// Connections at a time. A quarter is kept for the networks of known machines.
const MOST_CONNECTIONS: usize = 256;
/// Of these from one network; behind a proxy all come from one.
const MOST_PER_NETWORK: usize = 32;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last after the handshake.
const CONNECTION: Duration = Duration::from_secs(20);
/// The most that the head of a request may have, in bytes.
const MOST_HEAD: usize = 8192;
const MOST_HEADERS: usize = 64;
/// After a failure to accept (no file descriptors left), a moment for some to be given back.
const REST: Duration = Duration::from_millis(100);

/// What is served on it is public: any user may connect to the socket.
const ACCESS: Access = Access {
    what: "socket of OIDC discovery",
    folder: 0o755,
    socket: 0o666,
};

/// The bound listener.
#[derive(Debug)]
pub struct Socket(Bound);

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(BoundSocket, Box<Path>),
}

impl Socket {
    /// Binds. Call within a runtime.
    ///
    /// # Errors
    /// The address is taken or not this machine's; the path cannot be used.
    pub async fn bind(address: &Address) -> Result<Self, StartError> {
        match address {
            Address::Tcp(address) => bind(*address).await.map(Bound::Tcp),
            Address::Unix(path) => BoundSocket::bind(path, ACCESS).map(|it| Bound::Unix(it, path.as_path().into())),
        }
        .map(Self)
    }

    /// Where it listens; for port 0, the port that the system gave. `None` when the system does not say.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match &self.0 {
            Bound::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            Bound::Unix(_, path) => Some(Address::Unix(path.to_path_buf())),
        }
    }
}

/// What is served, and to how many.
#[derive(Debug)]
pub struct Provider {
    site: Site,
    certificate: Option<Arc<Certificate>>,
    limits: Arc<Limits>,
    places: Arc<Occupancy>,
    metrics: Arc<Metrics>,
}

impl Provider {
    /// The provider of what `authority` serves, as configured. `key_lifetime` is that of a key for JWT-SVIDs.
    #[must_use]
    pub fn new(
        oidc: Oidc,
        key_lifetime: Duration,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        clock: Clock,
        (limits, metrics): (Arc<Limits>, Arc<Metrics>),
    ) -> Self {
        let hosts = oidc.domains.clone();
        let certificate = oidc
            .certificate
            .map(|files| Arc::new(Certificate::new(files, hosts, clock)));
        // Who is served without TLS is a proxy.
        let per_network = if certificate.is_some() { MOST_PER_NETWORK } else { 0 };
        Self {
            site: Site {
                path: oidc.issuer.path().to_owned(),
                documents: Documents::new(oidc.issuer, authority, key_lifetime),
                domains: oidc.domains,
                told: LogThrottle::new(),
            },
            certificate,
            limits,
            places: Occupancy::new(MOST_CONNECTIONS, per_network),
            metrics,
        }
    }

    /// The certificate; `None` for plain HTTP.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// Reads the certificate for the first time.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn read_certificate(&self) -> Result<(), ConfigError> {
        match &self.certificate {
            Some(certificate) => certificate.read().await,
            None => Ok(()),
        }
    }
}

/// Serves for ever.
///
/// # Errors
/// TLS cannot be configured.
pub async fn serve(socket: Socket, provider: Arc<Provider>) -> Result<Infallible, StartError> {
    let acceptor = match &provider.certificate {
        Some(certificate) => Some(TlsAcceptor::from(Arc::new(tls(Arc::clone(certificate)).map_err(
            |error| StartError::Runtime {
                what: "TLS of OIDC discovery",
                cause: error.to_string(),
            },
        )?))),
        None => None,
    };
    let kept = async {
        match &provider.certificate {
            Some(certificate) => certificate.keep_reading().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        never = accept(&socket, &provider, acceptor) => match never {},
        () = kept => Err(StartError::Runtime {
            what: "the certificate of OIDC discovery",
            cause: "it is not read any more".to_owned(),
        }),
    }
}

async fn accept(socket: &Socket, provider: &Arc<Provider>, acceptor: Option<TlsAcceptor>) -> Infallible {
    let (failed, too_many) = (LogThrottle::new(), LogThrottle::new());
    loop {
        let accepted = match &socket.0 {
            Bound::Tcp(tcp) => tcp.accept().await.map(|(stream, remote)| {
                provider.admit(remote.ip()).map(|place| {
                    tokio::spawn(connection(stream, Arc::clone(provider), acceptor.clone(), place));
                })
            }),
            Bound::Unix(unix, _) => unix.listener.accept().await.map(|(stream, _)| {
                provider.admit(Ipv4Addr::LOCALHOST.into()).map(|place| {
                    tokio::spawn(connection(stream, Arc::clone(provider), acceptor.clone(), place));
                })
            }),
        };
        match accepted {
            Ok(Some(())) => {}
            Ok(None) => {
                provider.metrics.oidc_answered(OidcAnswer::TurnedAway);
                if let Some(left_out) = too_many.due(Instant::now()) {
                    tracing::warn!(left_out, "too many connections to OIDC discovery: one was turned away");
                }
            }
            Err(error) => {
                if let Some(left_out) = failed.due(Instant::now()) {
                    tracing::warn!(%error, left_out, "a connection to OIDC discovery could not be accepted");
                }
                sleep(REST).await;
            }
        }
    }
}

impl Provider {
    fn admit(&self, address: IpAddr) -> Option<Occupant> {
        self.places.admit(self.limits.origin(address))
    }
}

async fn connection<S>(stream: S, provider: Arc<Provider>, acceptor: Option<TlsAcceptor>, place: Occupant)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = async {
        match acceptor {
            Some(acceptor) => {
                let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await;
                let stream = stream.map_err(io::Error::from).and_then(|shaken| shaken);
                match stream {
                    Ok(stream) => talk(stream, &provider).await,
                    Err(error) => tracing::debug!(%error, "handshake with OIDC discovery failed"),
                }
            }
            None => talk(stream, &provider).await,
        }
    };
    tokio::select! {
        () = served => {}
        () = place.taken_away() => {}
    }
    drop(place);
}

/// One request and its answer.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, provider: &Provider) {
    let service = service_fn(|request: Request<Incoming>| {
        let (answered, response) = provider.site.answer(&request);
        provider.metrics.oidc_answered(answered);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever is cut off, or sent no request, learns nothing.
    drop(timeout(CONNECTION, serving).await);
}
