//! Which call it is, whether it may be made, and what answers it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hallmark_api::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming};
use prost::Message;
use tonic::service::Routes;
use tower::Service as _;

use super::answers::{Answers, Asked};
use super::caller::Caller;
use super::concurrency::{ConcurrencyLimit, Permit};
use super::jwt_calls;
use super::patience::Patience;
use super::refusal::Refusal;
use super::request::read_message;
use super::unary::Unary;
use super::updates::Updates;
use crate::cache::Cache;

/// The path of every Workload API call: its .proto has no package.
const SERVICE: &str = "/SpiffeWorkloadAPI/";
/// The metadata that keeps a confused deputy's HTTP requests out (Workload Endpoint, section 3).
const SECURITY_HEADER: &str = "workload.spiffe.io";
/// The requests of streams are empty messages; unknown fields of a later version may be in them.
const MAX_STREAM_REQUEST: usize = 16 << 10;
/// The others have the longest token, or all audiences of one, and room for an audience and an id.
const MAX_UNARY_REQUEST: usize = 40 << 10;

/// A call of the Workload API.
#[derive(Clone, Copy)]
enum Call {
    /// One that is answered again whenever its answer changes.
    Stream(Asked),
    /// FetchJWTSVID.
    JwtSvid,
    /// ValidateJWTSVID.
    Validate,
}

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
    let call = match admit(method, request.headers()) {
        Ok(call) => call,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    Ok(match body(&shared, &caller, call, request.into_body()).await {
        Ok(body) => {
            let mut response = Response::new(body);
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            response
        }
        Err(refusal) => {
            tracing::debug!(uid = caller.uid(), %refusal, "call refused");
            refused(&refusal)
        }
    })
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
fn admit(method: &str, headers: &HeaderMap) -> Result<Call, Refusal> {
    let unimplemented = || Refusal::Unimplemented { method: method.into() };
    let call = match method {
        "FetchX509SVID" => Ok(Call::Stream(Asked::Svids)),
        "FetchX509Bundles" => Ok(Call::Stream(Asked::Bundles)),
        "FetchJWTBundles" => Ok(Call::Stream(Asked::JwtBundles)),
        "FetchJWTSVID" => Ok(Call::JwtSvid),
        "ValidateJWTSVID" => Ok(Call::Validate),
        "FetchWITSVID" | "FetchWITBundles" => Err(unimplemented()),
        _ => return Err(unimplemented()),
    };
    let mut values = headers.get_all(SECURITY_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == "true" => call,
        _ => Err(Refusal::SecurityHeader),
    }
}

/// Reads the request, and finds what answers it.
async fn body(shared: &Shared, caller: &Arc<Caller>, call: Call, body: Incoming) -> Result<AnswerBody, Refusal> {
    let permit = shared.streams.take(caller.user()).ok_or(Refusal::TooMany)?;
    let (answers, cache) = (&shared.answers, &shared.cache);
    let limit = match call {
        Call::Stream(_) => MAX_STREAM_REQUEST,
        Call::JwtSvid | Call::Validate => MAX_UNARY_REQUEST,
    };
    let message = read_message(body, limit).await?;
    let framed = match call {
        Call::Stream(asked) => {
            match asked {
                Asked::Svids => decode::<X509svidRequest>(message).map(drop),
                Asked::Bundles => decode::<X509BundlesRequest>(message).map(drop),
                Asked::JwtBundles => decode::<JwtBundlesRequest>(message).map(drop),
            }?;
            let updates = first(shared, asked, Arc::clone(caller), permit).await?;
            return Ok(AnswerBody::Updates(updates));
        }
        Call::JwtSvid => jwt_calls::fetch(decode::<JwtsvidRequest>(message)?, caller, answers, cache).await?,
        Call::Validate => jwt_calls::validate(decode::<ValidateJwtsvidRequest>(message)?, caller, &cache.snapshot())?,
    };
    Ok(AnswerBody::Unary(Unary::new(framed, permit)))
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Refusal> {
    M::decode(message).map_err(|_| Refusal::Malformed {
        why: "it is not a message of this call",
    })
}

/// Finds the first message of a stream.
async fn first(shared: &Shared, asked: Asked, caller: Arc<Caller>, permit: Permit) -> Result<Updates, Refusal> {
    let mut patience = Patience::new(&shared.cache);
    loop {
        let snapshot = patience.snapshot();
        match caller.answer(&shared.answers, asked, &snapshot).await {
            Ok(first) => {
                let answers = Arc::clone(&shared.answers);
                let changes = patience.into_changes();
                return Ok(Updates::new(asked, caller, answers, first, changes, permit));
            }
            Err(refusal) => patience.after(refusal, &shared.answers).await?,
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
    /// One message of ours.
    Unary(Unary),
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
            Self::Unary(unary) => Pin::new(unary).poll_frame(cx).map_err(|never| match never {}),
            Self::Other { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Updates(_) => false,
            Self::Unary(unary) => unary.is_end_stream(),
            Self::Other { body, .. } => body.is_end_stream(),
        }
    }
}
