//! What is answered to one request.

use std::{collections::BTreeSet, time::Instant};

use bytes::Bytes;
use hallmark_host::log::LogThrottle;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;

use super::documents::{CONFIGURATION, Document, Documents, KEYS};
use crate::{config::host_of, metrics::OidcAnswer};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");

type Answer = (OidcAnswer, Response<Full<Bytes>>);

/// Whom requests may name, and what there is.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) documents: Documents,
    pub(super) domains: BTreeSet<String>,
    /// What every path begins with.
    pub(super) path: String,
    /// That the keys cannot be published is told now and then: anybody may ask.
    pub(super) told: LogThrottle,
}

impl Site {
    /// The answer. The request's body is not read: none of the methods has one.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refused.headers_mut().insert(ALLOW, ALLOWED);
            return (OidcAnswer::Refused, refused);
        }
        // Whoever probes the listener (a load balancer) does so by its address.
        match request.uri().path() {
            "/live" => return (OidcAnswer::Probe, plain(StatusCode::OK, "live\n")),
            "/ready" => return (OidcAnswer::Probe, self.ready()),
            _ => {}
        }
        match named_host(request) {
            None => return refused(StatusCode::BAD_REQUEST, "one host has to be named\n"),
            // RFC 9110, section 15.5.20: this server does not speak for that host.
            Some(host) if !self.domains.contains(&host) => {
                return refused(StatusCode::MISDIRECTED_REQUEST, "not a host of this server\n");
            }
            Some(_) => {}
        }
        let path = request.uri().path().strip_prefix(self.path.as_str());
        let path = path.and_then(|path| path.strip_prefix('/'));
        let which = match path {
            Some(CONFIGURATION) => OidcAnswer::Configuration,
            Some(KEYS) => OidcAnswer::Keys,
            _ => return refused(StatusCode::NOT_FOUND, "not found\n"),
        };
        match self.documents.now() {
            Ok(published) => {
                let document = match which {
                    OidcAnswer::Keys => &published.keys,
                    _ => &published.configuration,
                };
                self.document(which, document, request.headers())
            }
            Err(error) => {
                if let Some(left_out) = self.told.due(Instant::now()) {
                    tracing::error!(%error, left_out, "the keys of JWT-SVIDs cannot be published");
                }
                (
                    OidcAnswer::Failed,
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "the keys cannot be published\n"),
                )
            }
        }
    }

    /// Whether there is a key that a token could be verified with.
    fn ready(&self) -> Response<Full<Bytes>> {
        match self.documents.now() {
            Ok(published) if published.has_keys => plain(StatusCode::OK, "ready\n"),
            _ => plain(StatusCode::SERVICE_UNAVAILABLE, "no keys\n"),
        }
    }

    fn document(&self, which: OidcAnswer, document: &Document, asked: &HeaderMap) -> Answer {
        let is_known = is_known(asked, &document.etag);
        let (body, status) = match is_known {
            true => (Bytes::new(), StatusCode::NOT_MODIFIED),
            false => (document.body.clone(), StatusCode::OK),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ETAG, document.etag.clone());
        headers.insert(CACHE_CONTROL, self.documents.caching.clone());
        if is_known {
            return (OidcAnswer::NotModified, response);
        }
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        (which, response)
    }
}

/// Whether the asker has the document, by `If-None-Match` (RFC 9110, section 13.1.2): compared weakly.
fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

/// The host that a request names, in small letters: of its target, else its one `Host` (RFC 9112, section 3.2).
fn named_host<B>(request: &Request<B>) -> Option<String> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(one), None) => Some(one.to_str().ok()?),
        (Some(_), Some(_)) => return None,
    };
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = target.or(header)?.to_ascii_lowercase();
    host_of(&authority).map(str::to_owned)
}

fn refused(status: StatusCode, text: &'static str) -> Answer {
    (OidcAnswer::Refused, plain(status, text))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
