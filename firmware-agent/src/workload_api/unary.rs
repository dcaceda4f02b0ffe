//! The body of an answer that is one message.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame};

use super::concurrency::Permit;
use crate::cache::SecretBytes;

/// One message, and the status of success behind it.
pub(super) struct Unary {
    framed: Option<SecretBytes>,
    is_ended: bool,
    _permit: Permit,
}

impl Unary {
    /// A message with its gRPC prefix.
    pub(super) const fn new(framed: SecretBytes, permit: Permit) -> Self {
        Self {
            framed: Some(framed),
            is_ended: false,
            _permit: permit,
        }
    }
}

impl Body for Unary {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(framed) = self.framed.take() {
            return Poll::Ready(Some(Ok(Frame::data(framed.share()))));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        self.is_ended = true;
        let success = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([success])))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}
