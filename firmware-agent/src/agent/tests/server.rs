//! A server over real sockets whose calls can be held: everything that the agent asks for in the end, but for TLS.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use hallmark_api::{
    agent::PostStatusResponse,
    entry::{EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse},
    svid::{
        BatchNewX509svidRequest, BatchNewX509svidResponse, NewJwtsvidRequest, NewJwtsvidResponse,
        batch_new_x509svid_response,
    },
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
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::workload_api::tests::lab::{Authority, JwtKey, claims};

pub(super) const SYNC: &str = "SyncAuthorizedEntries";
/// A request for the content of entries, within [`SYNC`].
pub(super) const CONTENT: &str = "content";
pub(super) const ISSUE: &str = "BatchNewX509SVID";
pub(super) const ISSUE_JWT: &str = "NewJWTSVID";

/// A key that signs tokens, and how the bundle has it.
pub(super) struct PublishedKey {
    pub(super) key: JwtKey,
    pub(super) is_published: bool,
    pub(super) is_tainted: bool,
}

impl PublishedKey {
    pub(super) fn new(id: &str) -> Self {
        Self {
            key: JwtKey::new(id),
            is_published: true,
            is_tainted: false,
        }
    }
}

/// What the server is, and what was asked of it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) authority: Authority,
    entries: Mutex<Vec<types::Entry>>,
    /// Further authorities of its bundle.
    pub(super) further: Mutex<Vec<Authority>>,
    /// Whether it tells no entries, and ends what is asked of it at once.
    pub(super) tells_nothing: AtomicBool,
    /// Whether it tells versions first, and content when it is asked for that.
    pub(super) tells_versions: AtomicBool,
    life: Mutex<Duration>,
    /// The last one signs.
    pub(super) jwt_keys: Mutex<Vec<PublishedKey>>,
    /// What tokens say instead of what they should.
    pub(super) jwt_claims: Mutex<serde_json::Map<String, serde_json::Value>>,
    /// The gRPC status of every request for a token, where it is not 0.
    pub(super) jwt_status: Mutex<&'static str>,
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
            further: Mutex::default(),
            tells_nothing: AtomicBool::new(false),
            tells_versions: AtomicBool::new(false),
            life: Mutex::new(Duration::from_secs(3600)),
            jwt_keys: Mutex::new(vec![PublishedKey::new("first")]),
            jwt_claims: Mutex::default(),
            jwt_status: Mutex::new("0"),
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

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Said> {
        let (head, mut body) = request.into_parts();
        let call = head.uri.path().rsplit('/').next().unwrap().to_owned();
        // A stream of requests goes on while it is answered.
        let message = if call == SYNC {
            Bytes::new()
        } else {
            read(&mut body).await.unwrap()
        };
        self.note(&call);
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held.contains(&*call)).await.unwrap();
        let (say, said) = mpsc::unbounded_channel();
        let answer = match &*call {
            SYNC if self.tells_nothing.load(Ordering::SeqCst) => return response(said),
            SYNC if self.tells_versions.load(Ordering::SeqCst) => {
                tokio::spawn(self.tell_versions(body, say));
                return response(said);
            }
            SYNC => framed(&SyncAuthorizedEntriesResponse {
                entries: self.entries.lock().unwrap().clone(),
                ..Default::default()
            }),
            ISSUE => framed(&self.issue(&BatchNewX509svidRequest::decode(message).unwrap())),
            ISSUE_JWT => {
                let status = *self.jwt_status.lock().unwrap();
                match self.issue_jwt(NewJwtsvidRequest::decode(message).unwrap()) {
                    Some(issued) if status == "0" => framed(&issued),
                    Some(_) => return refusal(status),
                    None => return refusal("5"),
                }
            }
            "GetBundle" => framed(&types::Bundle {
                trust_domain: "example.org".into(),
                x509_authorities: self.authorities(),
                jwt_authorities: self.jwt_authorities(),
                ..Default::default()
            }),
            "PostStatus" => framed(&PostStatusResponse {}),
            other => panic!("{other} is not asked for"),
        };
        say.send(answer).unwrap();
        response(said)
    }

    fn authorities(&self) -> Vec<types::X509Certificate> {
        let further = self.further.lock().unwrap();
        let certificate = |authority: &Authority| types::X509Certificate {
            asn1: authority.der.clone(),
            ..Default::default()
        };
        [&self.authority]
            .into_iter()
            .chain(&*further)
            .map(certificate)
            .collect()
    }

    fn jwt_authorities(&self) -> Vec<types::JwtKey> {
        let keys = self.jwt_keys.lock().unwrap();
        let published = keys.iter().filter(|key| key.is_published);
        published
            .map(|key| types::JwtKey {
                key_id: key.key.authority.key_id().into(),
                public_key: key.key.authority.public_key().to_vec().into(),
                tainted: key.is_tainted,
                ..Default::default()
            })
            .collect()
    }

    fn issue_jwt(&self, request: NewJwtsvidRequest) -> Option<NewJwtsvidResponse> {
        let (entries, keys) = (self.entries.lock().unwrap(), self.jwt_keys.lock().unwrap());
        let entry = entries.iter().find(|entry| entry.id == request.entry_id)?;
        let audience: Vec<&str> = request.audience.iter().map(String::as_str).collect();
        let path = &entry.spiffe_id.as_ref().unwrap().path;
        let mut said = claims(&path[1..], &audience, *self.life.lock().unwrap());
        // No two tokens are the same.
        said["jti"] = self.count(ISSUE_JWT).into();
        for (name, claim) in &*self.jwt_claims.lock().unwrap() {
            said[name] = claim.clone();
        }
        let token = keys.last().unwrap().key.sign(&said);
        let svid = types::Jwtsvid {
            token,
            ..Default::default()
        };
        Some(NewJwtsvidResponse { svid: Some(svid) })
    }

    fn note(&self, call: &str) {
        self.calls
            .send_modify(|calls| *calls.entry(call.to_owned()).or_default() += 1);
    }

    /// The versions of all entries, and then the content of those that are asked for.
    async fn tell_versions(self: Arc<Self>, mut requests: Incoming, say: mpsc::UnboundedSender<Bytes>) {
        read(&mut requests).await;
        let entries = self.entries.lock().unwrap().clone();
        let revision = |entry: &types::Entry| EntryRevision {
            id: entry.id.clone(),
            revision_number: entry.revision_number,
            created_at: entry.created_at,
        };
        let _ = say.send(framed(&SyncAuthorizedEntriesResponse {
            entry_revisions: entries.iter().map(revision).collect(),
            ..Default::default()
        }));
        while let Some(message) = read(&mut requests).await {
            let ids = SyncAuthorizedEntriesRequest::decode(message).unwrap().ids;
            self.note(CONTENT);
            let _ = say.send(framed(&SyncAuthorizedEntriesResponse {
                entries: entries
                    .iter()
                    .filter(|entry| ids.contains(&entry.id))
                    .cloned()
                    .collect(),
                ..Default::default()
            }));
        }
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

/// The next message of a call; `None` behind the last. What these tests send is one frame.
async fn read(body: &mut Incoming) -> Option<Bytes> {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            return Some(data.slice(5..));
        }
    }
    None
}

fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut out).unwrap();
    out.freeze()
}

fn response(said: mpsc::UnboundedReceiver<Bytes>) -> Response<Said> {
    let mut response = Response::new(Said(said, true));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// A status without a message.
fn refusal(status: &'static str) -> Response<Said> {
    let mut response = response(mpsc::unbounded_channel().1);
    response.body_mut().1 = false;
    response
        .headers_mut()
        .insert("grpc-status", HeaderValue::from_static(status));
    response
}

/// Messages and a good end.
struct Said(mpsc::UnboundedReceiver<Bytes>, bool);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = ready!(self.0.poll_recv(cx)) {
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
