//! A server over TLS that answers as a test says: what real ones do not do, or only when they break.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::pki::Ca;

/// A request that came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Method and path, as in `POST /v1/x`.
    pub(crate) line: String,
    /// In lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the client showed a certificate that verifies.
    pub(crate) has_certificate: bool,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status, headers and body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// A good head, then an octet of the body now and then, for ever.
    Drip,
    /// Nothing, for ever.
    Silence,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        let kind = ("content-type", "application/json".to_owned());
        Self::Whole(status, vec![kind], body.to_string().into_bytes())
    }

    /// An error as Vault writes it.
    pub(crate) fn errors(status: u16, errors: &[&str]) -> Self {
        Self::json(status, &serde_json::json!({ "errors": errors }))
    }

    pub(crate) fn text(status: u16, kind: &str, body: &str) -> Self {
        Self::Whole(
            status,
            vec![("content-type", kind.to_owned())],
            body.as_bytes().to_vec(),
        )
    }
}

/// The server. It ends with its handle.
pub(crate) struct Fake {
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answers = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

impl Fake {
    /// A server whose TLS certificate, and those of its clients, are `ca`'s.
    pub(crate) async fn start(ca: &Ca, answers: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config(ca)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, log): (Answers, _) = (Arc::new(answers), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers, log) = (acceptor.clone(), Arc::clone(&answers), Arc::clone(&log));
                // A client that goes away ends its connection alone.
                tokio::spawn(async move { drop(serve(acceptor, stream, answers, log).await) });
            }
        });
        Self { url, seen, task }
    }

    /// What came since the last time, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn config(ca: &Ca) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone().into()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let leaf = ca.leaf("server");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf.der.into()], key)
        .unwrap()
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    answers: Answers,
    log: Arc<Mutex<Vec<Seen>>>,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let seen = read(&mut stream).await?;
    let reply = answers(&seen);
    log.lock().unwrap().push(seen);
    match reply {
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Some\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Drip => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
            stream.write_all(head).await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Reply::Silence => std::future::pending().await,
    }
    stream.shutdown().await
}

async fn read(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Seen> {
    let mut seen = Seen {
        has_certificate: stream.get_ref().1.peer_certificates().is_some(),
        ..Seen::default()
    };
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    seen.line = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        seen.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length: usize = seen.header("content-length").parse().unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    seen.body = bytes.split_off(end);
    Ok(seen)
}
