//! Files of the image server, over HTTP/1.1 with or without TLS, within bounds of size and time.
//!
//! What is fetched is believed for its signature or its digest alone. TLS keeps it from being read on the way; redirects are
//! followed within the server that was assigned.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hallmark_host::printable;
use hallmark_node::{DiskChunk, ImageUrl};
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Response,
    body::{Body as _, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{console::tell, error::ProvisionError};
use crate::{AgentError, connect::tcp, digest::sha256, jitter::Backoff, tls};

/// How much longer than its parts a whole answer may take: ten minutes for a chunk.
const PARTS: u32 = 20;
/// How many redirects are followed for a file.
const MAX_REDIRECTS: usize = 5;

/// How often and how soon something is asked for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How often a file is asked for.
    pub(super) attempts: u32,
    /// How often a chunk is fetched that is another one than the manifest names.
    pub(super) other_chunks: u32,
    /// How long connecting, an answer, and each part of it may take.
    pub(super) answer: Duration,
    /// The first pause, and the longest.
    pub(super) pauses: (Duration, Duration),
    /// How long a disk that is not there is waited for.
    pub(super) disk: Duration,
}

impl Patience {
    /// An image server that is away for some five minutes is waited for.
    pub(super) const OF_MACHINES: Self = Self {
        attempts: 12,
        other_chunks: 3,
        answer: Duration::from_secs(30),
        pauses: (Duration::from_secs(1), Duration::from_secs(60)),
        disk: Duration::from_secs(60),
    };
}

/// Fetches files, one after the other, over one connection as long as that lasts.
pub(super) struct Fetcher {
    authorities: PathBuf,
    patience: Patience,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// Why one try failed.
enum Failed {
    /// It may go better later.
    Again(String),
    /// It will not.
    Final(ProvisionError),
}

impl Fetcher {
    /// A fetcher that trusts image servers over TLS by the authorities of a file.
    pub(super) const fn new(authorities: PathBuf, patience: Patience) -> Self {
        Self {
            authorities,
            patience,
            tls: None,
            connection: None,
        }
    }

    /// A file of at most so many octets; `url` says which server that is.
    ///
    /// # Errors
    /// The server is away for longer than patience lasts, is not trusted, does not have it, or it is larger.
    pub(super) async fn file(&mut self, url: &ImageUrl, path: &str, most: usize) -> Result<Bytes, ProvisionError> {
        let mut backoff = self.backoff();
        let mut attempt = 1;
        loop {
            let whole = self.patience.answer.saturating_mul(PARTS);
            let fetched = timeout(whole, self.once(url, path, most)).await;
            let detail = match fetched.unwrap_or_else(|_| Err(slow())) {
                Ok(file) => return Ok(file),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Again(detail)) => detail,
            };
            self.connection = None;
            if attempt >= self.patience.attempts {
                return Err(ProvisionError::Unreachable {
                    url: path.to_owned(),
                    detail: format!("{detail}; {attempt} attempts"),
                });
            }
            attempt += 1;
            let pause = backoff.pause();
            tell(format_args!(
                "{path}: {detail}; asked for again in {} s",
                pause.as_secs()
            ));
            sleep(pause).await;
        }
    }

    /// A chunk, which is the one that the manifest names.
    ///
    /// # Errors
    /// As [`Self::file`]; or the server keeps giving another one.
    pub(super) async fn chunk(&mut self, url: &ImageUrl, chunk: DiskChunk) -> Result<Bytes, ProvisionError> {
        let path = url.chunk(&chunk.sha256);
        let most = usize::try_from(chunk.octets).unwrap_or(usize::MAX);
        let mut backoff = self.backoff();
        let mut attempt = 1;
        loop {
            let data = self.file(url, &path, most).await?;
            let found = sha256(&data);
            if data.len() == most && found == chunk.sha256 {
                return Ok(data);
            }
            self.connection = None;
            let found = format!("{} octets with SHA-256 {}", data.len(), hex::encode(found));
            if attempt >= self.patience.other_chunks {
                let detail = format!("the manifest names {most} octets, found {found}; {attempt} attempts");
                return Err(ProvisionError::OtherChunk { url: path, detail });
            }
            attempt += 1;
            sleep(backoff.pause()).await;
        }
    }

    fn backoff(&self) -> Backoff {
        let (first, longest) = self.patience.pauses;
        Backoff::new(first, longest)
    }

    async fn once(&mut self, url: &ImageUrl, path: &str, most: usize) -> Result<Bytes, Failed> {
        let mut target = path_of(path).to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let (connection, answer) = self.ask(url, &target).await?;
            if answer.status().is_redirection() {
                target = redirected(url, path, &answer).map_err(Failed::Final)?;
                continue;
            }
            let file = self.read(answer, path, most).await?;
            self.connection = Some(connection);
            return Ok(file);
        }
        Err(Failed::Final(ProvisionError::Redirected {
            url: path.to_owned(),
            detail: format!("expected {MAX_REDIRECTS} redirects at most, the next one leads to {target}"),
        }))
    }

    async fn ask(
        &mut self,
        url: &ImageUrl,
        target: &str,
    ) -> Result<(SendRequest<Empty<Bytes>>, Response<Incoming>), Failed> {
        let mut connection = match self.connection.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.connect(url).await?,
        };
        let request = Request::get(target)
            .header(header::HOST, url.server())
            .header(header::ACCEPT_ENCODING, "identity")
            .header(
                header::USER_AGENT,
                concat!("hallmark-agent/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(|error| again(&error))?;
        self.within(connection.ready()).await?;
        let answer = self.within(connection.send_request(request)).await?;
        Ok((connection, answer))
    }

    async fn read(&self, mut answer: Response<Incoming>, path: &str, most: usize) -> Result<Bytes, Failed> {
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(refused(path, status));
        }
        if let Some(encoding) = answer.headers().get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(Failed::Final(ProvisionError::Encoded {
                url: path.to_owned(),
                encoding: printable(&String::from_utf8_lossy(encoding.as_bytes())),
            }));
        }
        let too_large = |found: String| {
            Failed::Final(ProvisionError::Unreachable {
                url: path.to_owned(),
                detail: format!("{found}, of {most} at most"),
            })
        };
        if let Some(length) = answer.body().size_hint().exact()
            && usize::try_from(length).is_ok_and(|length| length > most)
        {
            return Err(too_large(format!("the answer has {length} octets")));
        }
        let mut file = BytesMut::new();
        loop {
            let part = timeout(self.patience.answer, answer.body_mut().frame()).await;
            let Some(part) = part.map_err(|_| slow())? else {
                return Ok(file.freeze());
            };
            if let Ok(data) = part.map_err(|error| again(&error))?.into_data() {
                if file.len().saturating_add(data.len()) > most {
                    return Err(too_large("the answer is longer".into()));
                }
                file.extend_from_slice(&data);
            }
        }
    }

    async fn connect(&mut self, url: &ImageUrl) -> Result<SendRequest<Empty<Bytes>>, Failed> {
        let stream = tcp(url.host(), url.port(), self.patience.answer)
            .await
            .map_err(|error| again(&error))?;
        if !url.is_tls() {
            return self.speak(stream).await;
        }
        let name = ServerName::try_from(url.host().to_owned()).map_err(|error| again(&error))?;
        let connector = TlsConnector::from(self.tls().map_err(Failed::Final)?);
        let connected = timeout(self.patience.answer, connector.connect(name, stream)).await;
        let stream = connected.map_err(|_| slow())?.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => Failed::Final(ProvisionError::UntrustedServer {
                    server: url.server(),
                    detail: format!("{why}; authorities: {}", self.authorities.display()),
                }),
                _ => again(&error),
            }
        })?;
        self.speak(stream).await
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
    ) -> Result<SendRequest<Empty<Bytes>>, Failed> {
        let (sender, connection) = self.within(handshake(TokioIo::new(stream))).await?;
        // It ends with the sender; what goes wrong is told to the request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn tls(&mut self) -> Result<Arc<ClientConfig>, ProvisionError> {
        if let Some(config) = &self.tls {
            return Ok(Arc::clone(config));
        }
        let unusable = |detail: String| ProvisionError::UntrustedServer {
            server: "over TLS".into(),
            detail: format!("authorities {}: {detail}", self.authorities.display()),
        };
        let file = std::fs::read(&self.authorities).map_err(|error| unusable(error.to_string()))?;
        let certificates = hallmark_der::certificates(&file).map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates.into_iter().map(Into::into));
        if taken == 0 {
            return Err(unusable("there is no certificate that can be used".into()));
        }
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| AgentError::System {
                detail: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.insert(Arc::new(config))))
    }

    async fn within<T, E: std::fmt::Display>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failed> {
        let done = timeout(self.patience.answer, work).await.map_err(|_| slow())?;
        done.map_err(|error| again(&error))
    }
}

fn again(error: &impl std::fmt::Display) -> Failed {
    Failed::Again(error.to_string())
}

fn slow() -> Failed {
    Failed::Again("no answer in time".into())
}

/// What the server refuses stays refused until somebody does something, but for what says of itself that it will not last.
fn refused(path: &str, status: StatusCode) -> Failed {
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    if status.is_server_error() || passes {
        return Failed::Again(format!("the image server answers {status}"));
    }
    Failed::Final(ProvisionError::Unreachable {
        url: path.to_owned(),
        detail: format!("the image server answers {status}"),
    })
}

/// Where a redirect leads, as a request names it: to another place of the same server, or it is not followed.
fn redirected(url: &ImageUrl, asked: &str, answer: &Response<Incoming>) -> Result<String, ProvisionError> {
    let refused = |detail: String| ProvisionError::Redirected {
        url: asked.to_owned(),
        detail,
    };
    let status = answer.status();
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| refused(format!("{status} without a Location that can be read")))?;
    let elsewhere = || {
        refused(format!(
            "expected a place of {}, {status} leads to {location}",
            url.server()
        ))
    };
    let to: Uri = location.parse().map_err(|_| elsewhere())?;
    let is_same = match to.authority() {
        None => location.starts_with('/') && !location.starts_with("//"),
        Some(authority) => {
            let is_tls = to.scheme() == Some(&Scheme::HTTPS);
            let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            to.scheme().is_some() && url.is_same_origin(is_tls, authority.host(), port)
        }
    };
    let path = to.path_and_query().filter(|_| is_same);
    path.map(ToString::to_string).ok_or_else(elsewhere)
}

/// The path of an address, as a request names it.
fn path_of(address: &str) -> &str {
    let behind = address.split_once("://").map_or(address, |(_, rest)| rest);
    behind.find('/').and_then(|at| behind.get(at..)).unwrap_or("/")
}
