//! The answers over HTTP: bounded, GET alone, one request a connection.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::log::LogThrottle;

use super::{Listener, Report, listener::Socket};

/// Connections at a time; one more is closed at once.
const MOST_CONNECTIONS: usize = 32;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last: request, looking and answer.
const CONNECTION: Duration = Duration::from_secs(20);
/// The most that the head of a request may have.
const MOST_HEAD: usize = 8192;
const MOST_HEADERS: usize = 32;
/// After a failure to accept (no file descriptors left), a moment for some to be given back.
const REST: Duration = Duration::from_millis(100);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// A program that is watched.
pub trait Watched: Send + Sync + 'static {
    /// Whether the program goes on at all. Where it does not, only a new start helps.
    fn live(&self) -> impl Future<Output = Report> + Send;
    /// Whether it does its work now.
    fn ready(&self) -> impl Future<Output = Report> + Send;
    /// Its metrics, as OpenMetrics text.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

/// Serves until `stop` resolves.
pub async fn serve(listener: Listener, watched: Arc<impl Watched>, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = accept(&listener, watched) => {}
        () = stop => {}
    }
}

async fn accept(listener: &Listener, watched: Arc<impl Watched>) {
    let failed = LogThrottle::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = match &listener.socket {
            Socket::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| welcome(stream, &watched, &places)),
            Socket::Unix(unix) => unix
                .accept()
                .await
                .map(|(stream, _)| welcome(stream, &watched, &places)),
        };
        if let Err(error) = accepted {
            if let Some(left_out) = failed.due(Instant::now()) {
                tracing::warn!(%error, left_out, "a connection to the health listener could not be accepted");
            }
            sleep(REST).await;
        }
    }
}

fn welcome<S>(stream: S, watched: &Arc<impl Watched>, places: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        tokio::spawn(connection(stream, Arc::clone(watched), place));
    }
}

async fn connection<S>(stream: S, watched: Arc<impl Watched>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let watched = Arc::clone(&watched);
        async move { Ok::<_, Infallible>(answer(&*watched, &request).await) }
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
    drop(place);
}

async fn answer(watched: &impl Watched, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
        refused
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    match request.uri().path() {
        "/live" => reported(&watched.live().await),
        "/ready" => reported(&watched.ready().await),
        "/metrics" => response(StatusCode::OK, METRICS, watched.metrics().await),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /live, /ready and /metrics\n".into(),
        ),
    }
}

fn reported(report: &Report) -> Response<Full<Bytes>> {
    let status = if report.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // A report always has a JSON form.
    response(status, JSON, serde_json::to_string(report).unwrap_or_default())
}

fn response(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
