//! The filter around a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::rewriter::{Mode, Rewriter};

type Patience = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection whose incoming header blocks have an `:authority` that the server understands.
pub struct AuthorityFilter<S> {
    socket: S,
    rewriter: Rewriter,
    ready: BytesMut,
    greeting: Option<Patience>,
}

impl<S> AuthorityFilter<S> {
    /// Filters what comes in on `socket`. `patience` ends when the client has taken too long to say that it speaks
    /// HTTP/2.
    pub fn new(socket: S, patience: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            socket,
            rewriter: Rewriter::new(),
            ready: BytesMut::new(),
            greeting: Some(Box::pin(patience)),
        }
    }

    /// The socket.
    pub const fn socket(&self) -> &S {
        &self.socket
    }

    /// Moves what is ready into the reader's buffer.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let now = self.ready.len().min(buf.remaining());
        buf.put_slice(self.ready.get(..now).unwrap_or_default());
        self.ready.advance(now);
    }

    fn is_idle(&self) -> bool {
        self.rewriter.mode() == Mode::Passing && self.ready.is_empty()
    }

    /// Makes ready what can be made of what has arrived.
    fn advance(&mut self) -> io::Result<()> {
        let advanced = self.rewriter.advance(&mut self.ready);
        if self.rewriter.greeted() {
            self.greeting = None;
        }
        advanced.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AuthorityFilter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_idle() {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        // What was left of the last read comes before the next.
        if this.ready.is_empty() {
            this.advance()?;
        }
        while this.ready.is_empty() && buf.remaining() > 0 {
            let start = buf.filled().len();
            let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(cx, buf) else {
                if let Some(greeting) = &mut this.greeting {
                    ready!(greeting.as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                return Poll::Pending;
            };
            read?;
            let arrived = buf.filled().get(start..).unwrap_or_default();
            if arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.rewriter.input().extend_from_slice(arrived);
            buf.set_filled(start);
            this.advance()?;
        }
        this.hand_over(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AuthorityFilter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
