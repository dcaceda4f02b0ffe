//! A server over real sockets whose calls can be held: everything that the agent asks for in the end, but for TLS.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use hallmark_api::{
    agent::PostStatusResponse,
    entry::SyncAuthorizedEntriesResponse,
    svid::{BatchNewX509svidRequest, BatchNewX509svidResponse, batch_new_x509svid_response},
    types,
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use crate::workload_api::tests::lab::Authority;

pub(super) const SYNC: &str = "SyncAuthorizedEntries";
pub(super) const ISSUE: &str = "BatchNewX509SVID";

/// What the server is, and what was asked of it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) authority: Authority,
    entries: Mutex<Vec<types::Entry>>,
    life: Mutex<Duration>,
    held: watch::Sender<BTreeSet<&'static str>>,
    calls: watch::Sender<BTreeMap<String, usize>>,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Server {
    pub(super) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            authority: Authority::new(),
            entries: Mutex::default(),
            life: Mutex::new(Duration::from_secs(3600)),
            held: watch::Sender::default(),
            calls: watch::Sender::default(),
            connections: Mutex::default(),
        });
        let this = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let at = Arc::clone(&this);
                let service = service_fn(move |request| {
                    let at = Arc::clone(&at);
                    async move { Ok::<_, Infallible>(at.answer(request).await) }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                let connection = tokio::spawn(async move { drop(serving.await) });
                this.connections.lock().unwrap().push(connection.abort_handle());
            }
        });
        server
    }

    /// Calls of this name get no answer until they are released.
    pub(super) fn hold(&self, call: &'static str) {
        self.held.send_if_modified(|held| held.insert(call));
    }

    pub(super) fn release(&self, call: &'static str) {
        self.held.send_if_modified(|held| held.remove(call));
    }

    /// How often a call was made.
    pub(super) fn count(&self, call: &str) -> usize {
        self.calls.borrow().get(call).copied().unwrap_or(0)
    }

    /// Waits until a call was made so often.
    pub(super) async fn counts(&self, call: &str, least: usize) {
        let mut calls = self.calls.subscribe();
        let made = calls.wait_for(|calls| calls.get(call).is_some_and(|count| *count >= least));
        tokio::time::timeout(Duration::from_secs(30), made)
            .await
            .unwrap()
            .unwrap();
    }

    pub(super) fn set_entries(&self, entries: Vec<types::Entry>) {
        *self.entries.lock().unwrap() = entries;
    }

    /// How long SVIDs are valid from now on.
    pub(super) fn set_life(&self, life: Duration) {
        *self.life.lock().unwrap() = life;
    }

    /// Ends every connection; gives how many there have been.
    pub(super) fn cut(&self) -> usize {
        let connections = self.connections.lock().unwrap();
        connections.iter().for_each(AbortHandle::abort);
        connections.len()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Said> {
        let (head, body) = request.into_parts();
        let call = head.uri.path().rsplit('/').next().unwrap().to_owned();
        // The requests of a stream have no end; they say nothing that counts here.
        let message = if call == SYNC { Bytes::new() } else { read(body).await };
        self.calls
            .send_modify(|calls| *calls.entry(call.clone()).or_default() += 1);
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held.contains(&*call)).await.unwrap();
        let answer = match &*call {
            SYNC => framed(&SyncAuthorizedEntriesResponse {
                entries: self.entries.lock().unwrap().clone(),
                ..Default::default()
            }),
            ISSUE => framed(&self.issue(&BatchNewX509svidRequest::decode(message).unwrap())),
            "GetBundle" => framed(&types::Bundle {
                trust_domain: "example.org".into(),
                x509_authorities: vec![types::X509Certificate {
                    asn1: self.authority.der.clone(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            "PostStatus" => framed(&PostStatusResponse {}),
            other => panic!("{other} is not asked for"),
        };
        let mut response = Response::new(Said(Some(answer), true));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }

    fn issue(&self, request: &BatchNewX509svidRequest) -> BatchNewX509svidResponse {
        let (entries, life) = (self.entries.lock().unwrap(), *self.life.lock().unwrap());
        let results = request.params.iter().map(|params| {
            let entry = entries.iter().find(|entry| entry.id == params.entry_id).unwrap();
            let id = entry.spiffe_id.clone().unwrap();
            let uri = format!("spiffe://{}{}", id.trust_domain, id.path);
            batch_new_x509svid_response::Result {
                status: Some(types::Status::default()),
                svid: Some(types::X509svid {
                    cert_chain: vec![self.authority.sign(&params.csr, &uri, life).into()],
                    id: Some(id),
                    ..Default::default()
                }),
            }
        });
        BatchNewX509svidResponse {
            results: results.collect(),
        }
    }
}

/// The one message of a call.
async fn read(mut body: Incoming) -> Bytes {
    let mut arrived = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.unwrap().into_data() {
            arrived.extend_from_slice(&data);
        }
    }
    arrived.split_off(5).freeze()
}

fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut out).unwrap();
    out.freeze()
}

/// One message and a good end.
struct Said(Option<Bytes>, bool);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let is_end = std::mem::take(&mut self.1);
        let done = (
            header::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        );
        Poll::Ready(is_end.then(|| Ok(Frame::trailers(HeaderMap::from_iter([done])))))
    }
}
