//! One request and its answer: a connection of its own, over TLS, no redirect followed, the answer bounded. The time limit is the
//! caller's, around all the exchanges of one order.

use std::{error::Error, path::PathBuf, sync::Arc};

use bytes::Bytes;
use hallmark_host::printable;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::ServerName};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{
    endpoint::Endpoint,
    error::Fault,
    files::{self, SecretFile, beside},
};

/// No answer is longer: a chain of ten certificates with RSA keys of 4096 bits has some 30 KiB.
pub(crate) const MAX_ANSWER: usize = 512 * 1024;
/// The most that the head of an answer may have, in bytes and in lines.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
/// How much of a foreign text is shown.
const MAX_SHOWN: usize = 400;

/// A client certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate_key: &'static str,
    pub(crate) certificate: PathBuf,
    pub(crate) key: SecretFile,
}

/// Speaks to one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    /// Whom to believe that it is the server; there with TLS.
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
}

/// A request. Its headers and its body may hold secrets.
pub(crate) struct Order {
    pub(crate) method: Method,
    /// Below the endpoint's base, with a slash before it.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// An answer. Its body may hold a secret.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// A header, as text that can be shown; empty where there is none.
    pub(crate) fn header(&self, name: header::HeaderName) -> String {
        let value = self.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        shown(&String::from_utf8_lossy(value))
    }

    /// The media type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let whole = self.header(header::CONTENT_TYPE);
        let bare = whole.split(';').next().unwrap_or_default();
        bare.trim().to_ascii_lowercase()
    }
}

/// A foreign text: cut short, with every character spelt out that a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    let text = text.trim();
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", printable(&cut))
}

impl Client {
    /// Reads every file that it uses, to find out at the start what is wrong. Blocks.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.endpoint.is_tls {
            self.tls().map(drop)
        } else {
            Ok(())
        }
    }

    /// Sends a request and reads its answer whole.
    pub(crate) async fn send(&self, order: Order) -> Result<Answer, Fault> {
        let endpoint = &self.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(|error| unreachable(&error))?;
        if !endpoint.is_tls {
            return self.speak(stream, order).await;
        }
        let this = self.clone();
        let connector = TlsConnector::from(beside(move || this.tls()).await?);
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| unreachable(&error))?;
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => Fault::Untrusted {
                    detail: format!("{why}; believed are the authorities of `ca`"),
                },
                _ => unreachable(&error),
            }
        })?;
        self.speak(stream, order).await
    }

    async fn speak<S>(&self, stream: S, order: Order) -> Result<Answer, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        // It ends with this function, however that ends; what goes wrong is told to the request.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let host = HeaderValue::from_str(&self.endpoint.authority).map_err(|error| unreachable(&error))?;
        let mut request = Request::new(Full::new(Bytes::from_owner(order.body)));
        *request.method_mut() = order.method;
        let path = format!("{}{}", self.endpoint.base, order.path);
        *request.uri_mut() = path.parse().map_err(|error| unreachable(&error))?;
        let headers = request.headers_mut();
        *headers = order.headers;
        headers.insert(header::HOST, host);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let agent = concat!("hallmark-server/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        read(answer).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Fault> {
        let Some(authorities) = &self.authorities else {
            return Err(Fault::configuration(
                "ca",
                "a server over https is believed by the authorities of this file; name one",
            ));
        };
        let mut roots = RootCertStore::empty();
        for certificate in files::certificates("ca", authorities)? {
            let refused = |error| Fault::configuration("ca", format!("{}: {error}", authorities.display()));
            roots.add(certificate.into()).map_err(refused)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::configuration("ca", error))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = files::certificates(identity.certificate_key, &identity.certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key.bytes()?)
                    .map_err(|_| identity.key.fault("it is not a private key in PEM"))?;
                let chain = chain.into_iter().map(Into::into).collect();
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Fault::configuration(identity.certificate_key, error))?
            }
        };
        // A login by certificate proves its key anew each time.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

async fn read(answer: Response<Incoming>) -> Result<Answer, Fault> {
    let (head, mut body) = answer.into_parts();
    let mut answer = Answer {
        status: head.status,
        headers: head.headers,
        body: Zeroizing::new(Vec::new()),
    };
    if answer.status.is_redirection() {
        let place = answer.header(header::LOCATION);
        let detail = format!("{} to {place:?}", answer.status);
        return Err(Fault::Redirected { detail });
    }
    let encoding = answer.header(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(Fault::malformed(format!(
            "its encoding is {encoding:?}, which was not asked for"
        )));
    }
    while let Some(part) = body.frame().await {
        let Ok(data) = part.map_err(|error| unreachable(&error))?.into_data() else {
            continue;
        };
        if answer.body.len().saturating_add(data.len()) > MAX_ANSWER {
            return Err(Fault::TooLong { most: MAX_ANSWER });
        }
        answer.body.extend_from_slice(&data);
    }
    Ok(answer)
}

/// The words of an error and of what is behind it.
fn unreachable(error: &(dyn Error + 'static)) -> Fault {
    let mut detail = error.to_string();
    let mut behind = error.source();
    while let Some(source) = behind {
        let said = source.to_string();
        if !detail.ends_with(&said) {
            detail = format!("{detail}: {said}");
        }
        behind = source.source();
    }
    Fault::Unreachable { detail: shown(&detail) }
}
