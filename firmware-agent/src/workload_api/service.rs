//! Which call it is, whether it may be made, and what answers it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hallmark_api::workload::{X509BundlesRequest, X509svidRequest};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::service::Routes;
use tower::Service as _;

use super::answers::{Answers, Asked};
use super::caller::Caller;
use super::concurrency::{ConcurrencyLimit, Permit};
use super::refusal::Refusal;
use super::request::read_message;
use super::updates::Updates;
use crate::cache::{Cache, Snapshot};

/// The path of every Workload API call: its .proto has no package.
const SERVICE: &str = "/SpiffeWorkloadAPI/";
/// The metadata that keeps a confused deputy's HTTP requests out (Workload Endpoint, section 3).
const SECURITY_HEADER: &str = "workload.spiffe.io";
/// The requests are empty messages; unknown fields of a later version may be in them.
const MAX_REQUEST: usize = 16 << 10;
/// How long a call waits for what is not in memory yet: an entry made a moment ago, the first SVID of an entry.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) answers: Arc<Answers>,
    pub(super) streams: Arc<ConcurrencyLimit>,
    /// Server reflection, and `Unimplemented` for everything else.
    pub(super) others: Routes,
}

/// Answers one HTTP request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let Some(method) = request.uri().path().strip_prefix(SERVICE) else {
        return Ok(other(&shared, &caller, request).await);
    };
    let asked = match admit(method, request.headers()) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    Ok(
        match stream(&shared, Arc::clone(&caller), asked, request.into_body()).await {
            Ok(updates) => {
                let mut response = Response::new(AnswerBody::Updates(updates));
                let grpc = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(header::CONTENT_TYPE, grpc);
                response
            }
            Err(refusal) => {
                tracing::debug!(uid = caller.uid(), %refusal, "call refused");
                refused(&refusal)
            }
        },
    )
}

/// Answers what is no call of the Workload API. It is bounded like one: a reflection stream costs as much as another,
/// and is open to whoever can open the socket.
async fn other(shared: &Shared, caller: &Caller, request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(permit) = shared.streams.take(caller.user()) else {
        return refused(&Refusal::TooMany);
    };
    let mut others = shared.others.clone();
    let response = others.call(request).await.unwrap_or_else(|never| match never {});
    response.map(|body| AnswerBody::Other {
        body,
        _permit: Some(permit),
    })
}

/// Finds the call by its name; a known one needs the security metadata before anything else is looked
/// at, even before it is said to be unimplemented.
fn admit(method: &str, headers: &HeaderMap) -> Result<Asked, Refusal> {
    let unimplemented = || Refusal::Unimplemented { method: method.into() };
    let asked = match method {
        "FetchX509SVID" => Ok(Asked::Svids),
        "FetchX509Bundles" => Ok(Asked::Bundles),
        "FetchJWTSVID" | "FetchJWTBundles" | "ValidateJWTSVID" | "FetchWITSVID" | "FetchWITBundles" => {
            Err(unimplemented())
        }
        _ => return Err(unimplemented()),
    };
    let mut values = headers.get_all(SECURITY_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == "true" => asked,
        _ => Err(Refusal::SecurityHeader),
    }
}

async fn stream(shared: &Shared, caller: Arc<Caller>, asked: Asked, body: Incoming) -> Result<Updates, Refusal> {
    let permit = shared.streams.take(caller.user()).ok_or(Refusal::TooMany)?;
    let message = read_message(body, MAX_REQUEST).await?;
    match asked {
        Asked::Svids => X509svidRequest::decode(message).map(drop),
        Asked::Bundles => X509BundlesRequest::decode(message).map(drop),
    }
    .map_err(|_| Refusal::Malformed {
        why: "it is not a message of this call",
    })?;
    first(shared, asked, caller, permit).await
}

/// Finds the first message. Whom no entry matches has the server asked once whether there is a new one; an entry that is
/// authorised but not issued yet gets a moment to become so.
async fn first(shared: &Shared, asked: Asked, caller: Arc<Caller>, permit: Permit) -> Result<Updates, Refusal> {
    let mut changes = shared.cache.subscribe();
    let until = Instant::now() + PATIENCE;
    let mut is_refreshed = false;
    loop {
        // The borrow ends here: it locks the channel.
        let snapshot: Arc<Snapshot> = Arc::clone(&changes.borrow_and_update());
        match caller.answer(&shared.answers, asked, &snapshot).await {
            Ok(first) => {
                let answers = Arc::clone(&shared.answers);
                return Ok(Updates::new(asked, caller, answers, first, changes, permit));
            }
            Err(Refusal::NoIdentity) if !is_refreshed => {
                is_refreshed = true;
                // A server that does not answer in time has told nothing new.
                let _ = timeout_at(until, shared.answers.refreshed()).await;
            }
            Err(Refusal::NotIssued) => match timeout_at(until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Refusal::Stopping),
                Err(_) => return Err(Refusal::NotIssued),
            },
            Err(refusal) => return Err(refusal),
        }
    }
}

/// A status without any message.
fn refused(refusal: &Refusal) -> Response<AnswerBody> {
    let body = |body| AnswerBody::Other { body, _permit: None };
    refusal.status().into_http::<tonic::body::Body>().map(body)
}

/// The body of a response.
pub(super) enum AnswerBody {
    /// One of our streams.
    Updates(Updates),
    /// Whatever else, with the permit that it takes while it lasts.
    Other {
        /// The body.
        body: tonic::body::Body,
        /// Given back when the answer ends.
        _permit: Option<Permit>,
    },
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Updates(updates) => Pin::new(updates).poll_frame(cx).map_err(|never| match never {}),
            Self::Other { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Updates(_) => false,
            Self::Other { body, .. } => body.is_end_stream(),
        }
    }
}
