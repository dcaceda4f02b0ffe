//! The body of a streaming answer: the whole state at once, and again whenever it changes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tokio_stream::Stream as _;
use tokio_stream::wrappers::WatchStream;

use super::answers::{Answer, Answers, Asked};
use super::bounds::Place;
use super::caller::Facts;
use super::refusal::Refusal;
use crate::cache::Snapshot;

/// A stream of answers to one call.
pub(super) struct Updates {
    asked: Asked,
    facts: Facts,
    answers: Arc<Answers>,
    last: Arc<Answer>,
    state: State,
    changes: WatchStream<Arc<Snapshot>>,
    _place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    First,
    Waiting,
    Ended,
}

impl Updates {
    /// A stream that sends `first` at once. `changes` must have seen the snapshot that `first` was built
    /// from.
    pub(super) fn new(
        asked: Asked,
        facts: Facts,
        answers: Arc<Answers>,
        first: Arc<Answer>,
        changes: tokio::sync::watch::Receiver<Arc<Snapshot>>,
        place: Place,
    ) -> Self {
        Self {
            asked,
            facts,
            answers,
            last: first,
            state: State::First,
            changes: WatchStream::from_changes(changes),
            _place: place,
        }
    }

    /// Ends the stream with a status, in its trailers.
    fn end(&mut self, refusal: &Refusal) -> Frame<Bytes> {
        self.state = State::Ended;
        let mut trailers = HeaderMap::with_capacity(3);
        // It fails only for texts that fit no header, and ours do.
        refusal.status().add_header(&mut trailers).ok();
        Frame::trailers(trailers)
    }
}

impl Body for Updates {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        match this.state {
            State::First => {
                this.state = State::Waiting;
                return Poll::Ready(Some(Ok(Frame::data(this.last.framed()))));
            }
            State::Ended => return Poll::Ready(None),
            State::Waiting => {}
        }
        loop {
            let snapshot = match Pin::new(&mut this.changes).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Some(Ok(this.end(&Refusal::Stopping)))),
                Poll::Ready(Some(snapshot)) => snapshot,
            };
            match this.answers.find(this.asked, &snapshot, &this.facts) {
                Ok(answer) => {
                    let same = answer.says_the_same(&this.last);
                    this.last = answer;
                    if !same {
                        return Poll::Ready(Some(Ok(Frame::data(this.last.framed()))));
                    }
                }
                Err(refusal) => return Poll::Ready(Some(Ok(this.end(&refusal)))),
            }
        }
    }
}
