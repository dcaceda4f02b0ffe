//! The body of a streaming answer: the whole state at once, and again whenever it changes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tokio_stream::Stream as _;
use tokio_stream::wrappers::WatchStream;

use super::answers::{Answer, Answers, Asked};
use super::caller::Caller;
use super::concurrency::Permit;
use super::refusal::Refusal;
use crate::cache::Snapshot;

/// A stream of answers to one call.
pub(super) struct Updates {
    asked: Asked,
    caller: Arc<Caller>,
    answers: Arc<Answers>,
    last: Arc<Answer>,
    state: State,
    changes: WatchStream<Arc<Snapshot>>,
    _permit: Permit,
}

enum State {
    First,
    Waiting,
    /// A change may ask for a proof that takes a moment.
    Answering(Pin<Box<dyn Future<Output = Result<Arc<Answer>, Refusal>> + Send>>),
    Ended,
}

impl Updates {
    /// A stream that sends `first` at once. `changes` must have seen the snapshot that `first` was built
    /// from.
    pub(super) fn new(
        asked: Asked,
        caller: Arc<Caller>,
        answers: Arc<Answers>,
        first: Arc<Answer>,
        changes: tokio::sync::watch::Receiver<Arc<Snapshot>>,
        permit: Permit,
    ) -> Self {
        Self {
            asked,
            caller,
            answers,
            last: first,
            state: State::First,
            changes: WatchStream::from_changes(changes),
            _permit: permit,
        }
    }

    fn answer(&self, snapshot: Arc<Snapshot>) -> State {
        let (caller, answers, asked) = (Arc::clone(&self.caller), Arc::clone(&self.answers), self.asked);
        State::Answering(Box::pin(async move { caller.answer(&answers, asked, &snapshot).await }))
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
        loop {
            match &mut this.state {
                State::First => {
                    this.state = State::Waiting;
                    return Poll::Ready(Some(Ok(Frame::data(this.last.framed()))));
                }
                State::Ended => return Poll::Ready(None),
                State::Waiting => match ready!(Pin::new(&mut this.changes).poll_next(cx)) {
                    Some(snapshot) => this.state = this.answer(snapshot),
                    None => return Poll::Ready(Some(Ok(this.end(&Refusal::Stopping)))),
                },
                State::Answering(answer) => match ready!(answer.as_mut().poll(cx)) {
                    Ok(answer) => {
                        this.state = State::Waiting;
                        let same = answer.says_the_same(&this.last);
                        this.last = answer;
                        if !same {
                            return Poll::Ready(Some(Ok(Frame::data(this.last.framed()))));
                        }
                    }
                    Err(refusal) => return Poll::Ready(Some(Ok(this.end(&refusal)))),
                },
            }
        }
    }
}
