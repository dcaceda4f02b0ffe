//! The end of a connection's life.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::frames::FrameBudget;
use crate::connection::Used;

/// A connection that fails once its time is over (the transport asks the peer to finish some time before), when no request
/// comes on it, when a stranger sends too many frames, or when its place is given to another.
pub(super) struct Lifetime<S> {
    stream: S,
    end: Pin<Box<Sleep>>,
    first_request: Option<(Pin<Box<Sleep>>, Used)>,
    frames: Option<(FrameBudget, Box<dyn FnMut() + Send>)>,
    taken_away: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
}

/// Somebody who has shown no certificate.
pub(super) struct Stranger {
    /// How long the first request may take.
    pub(super) within: Duration,
    /// Whether it has come.
    pub(super) used: Used,
    /// Called when it has sent too many frames.
    pub(super) flooded: Box<dyn FnMut() + Send>,
}

impl<S> Lifetime<S> {
    pub(super) fn new(
        stream: S,
        life: Duration,
        stranger: Option<Stranger>,
        taken_away: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (first_request, frames) = match stranger {
            Some(Stranger { within, used, flooded }) => (
                Some((Box::pin(sleep(within)), used)),
                Some((FrameBudget::new(Instant::now()), flooded)),
            ),
            None => (None, None),
        };
        Self {
            stream,
            end: Box::pin(sleep(life)),
            frames,
            first_request,
            taken_away: Box::pin(taken_away),
            is_over: false,
        }
    }

    /// Whether the connection ends now; else the task is woken when it may.
    fn poll_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.first_request.as_ref().is_some_and(|(_, used)| used.is_set()) {
            self.first_request = None;
        }
        let is_silent = |(limit, _): &mut (Pin<Box<Sleep>>, Used)| limit.as_mut().poll(context).is_ready();
        self.is_over = self.is_over
            || self.first_request.as_mut().is_some_and(is_silent)
            || self.end.as_mut().poll(context).is_ready()
            || self.taken_away.as_mut().poll(context).is_ready();
        self.is_over
    }
}

impl<S: Connected> Connected for Lifetime<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lifetime<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // An HTTP/2 connection always reads, so this is where its end is seen.
        if self.poll_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let arrived = into.filled().get(before..).unwrap_or_default();
        if let Some((frames, flooded)) = &mut self.frames
            && !frames.allows(arrived, Instant::now())
        {
            flooded();
            self.frames = None;
            self.is_over = true;
            into.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lifetime<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn a_connection_serves_until_its_end_and_no_longer() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Lifetime::new(ours, Duration::from_secs(240), None, pending());
        let mut byte = [0];
        theirs.write_all(b"a").await.unwrap();
        tokio::time::sleep(Duration::from_secs(239)).await;
        assert_eq!(ours.read(&mut byte).await.unwrap(), 1);
        // Both a peer that is silent and one that never stops talking meet the end.
        assert_eq!(ours.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        theirs.write_all(b"b").await.unwrap();
        assert_eq!(ours.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_no_request_comes_ends() {
        let half_a_minute = Duration::from_secs(30);
        for is_used in [false, true] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let used = Used::default();
            let stranger = Stranger {
                within: half_a_minute,
                used: used.clone(),
                flooded: Box::new(|| panic!("one byte a second")),
            };
            let mut ours = Lifetime::new(ours, 8 * half_a_minute, Some(stranger), pending());
            let talking = tokio::spawn(async move {
                // One byte a second is no request.
                while theirs.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            if is_used {
                used.set();
            }
            let start = tokio::time::Instant::now();
            let mut byte = [0];
            while ours.read(&mut byte).await.is_ok() {}
            let expected = if is_used { 8 * half_a_minute } else { half_a_minute };
            assert_eq!(start.elapsed(), expected);
            drop(ours);
            talking.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_stranger_that_floods_is_cut_off_and_a_peer_is_not() {
        for is_stranger in [false, true] {
            let floods = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&floods);
            let stranger = is_stranger.then(|| Stranger {
                within: Duration::from_secs(30),
                used: Used::default(),
                flooded: Box::new(move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                }),
            });
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            let mut ours = Lifetime::new(ours, Duration::from_secs(240), stranger, pending());
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            theirs.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            theirs.write_all(&ping.repeat(4000)).await.unwrap();
            drop(theirs);
            let read = ours.read_to_end(&mut Vec::new()).await;
            assert_eq!(read.is_err(), is_stranger, "{read:?}");
            assert!(ours.read(&mut [0]).await.is_err() == is_stranger);
            assert_eq!(floods.load(Ordering::Relaxed), u32::from(is_stranger), "told once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_place_is_taken_away_ends() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let (take, taken) = tokio::sync::oneshot::channel::<()>();
        let mut ours = Lifetime::new(ours, Duration::from_secs(240), None, async { drop(taken.await) });
        let mut byte = [0];
        let reading = tokio::spawn(async move { ours.read(&mut byte).await });
        tokio::task::yield_now().await;
        take.send(()).unwrap();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
