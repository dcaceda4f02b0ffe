//! The socket of one connection, that tells who speaks on it where that matters.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use hallmark_unix::{FrameTally, FrameWalk, PingWatch, ping_frame};
use hallmark_workload::{Received, Receiver, nothing_waits};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

use super::closing::{Closer, Held};
use super::concurrency::Permit;
use super::shares::Share;
use super::speaker::Speaker;

/// The socket of one connection. Where a [`Speaker`] wants to know, it notes the writer of every octet, and puts the PING
/// that is asked for between the server's frames. It takes no descriptors: a connection on which some are sent ends.
pub(super) struct ToldSocket {
    socket: UnixStream,
    incoming: Incoming,
    told: Option<Told>,
    closer: Arc<Closer>,
    user: u32,
    permit: Option<Permit>,
    /// Dropped behind the socket.
    held: Option<Held>,
}

/// What arrives, as far as its user's share lets it.
struct Incoming {
    receiver: Receiver,
    frames: FrameTally,
    share: Arc<Share>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Waits until something can be received.
    fn poll_ready(&mut self, socket: &UnixStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if let Some(wait) = self.share.wait(Instant::now()) {
            let pause = self.pause.insert(Box::pin(sleep(wait)));
            // It has only begun: this is for the waker.
            ready!(pause.as_mut().poll(cx));
        }
        socket.poll_read_ready(cx)
    }

    /// Receives what is there; `None` where nothing is.
    fn receive(&mut self, socket: &UnixStream, room: &mut [u8]) -> io::Result<Option<Received>> {
        match socket.try_io(Interest::READABLE, || self.receiver.receive(socket, room)) {
            Ok(received) => {
                let arrived = room.get(..received.length).unwrap_or_default();
                self.share.spend(self.frames.pass(arrived));
                Ok(Some(received))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn poll_read(&mut self, socket: &UnixStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_ready(socket, cx))?;
            if let Some(Received { length, .. }) = self.receive(socket, buf.initialize_unfilled())? {
                buf.advance(length);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

struct Told {
    speaker: Arc<Speaker>,
    incoming: PingWatch,
    ready: BytesMut,
    outgoing: FrameWalk,
    /// What is left to write of a PING.
    ping: Bytes,
}

impl ToldSocket {
    /// Of a connection that takes a permit of its user's, until it is closed. Where there is a `speaker`, the kernel tells the
    /// receiver who writes.
    pub(super) fn new(
        socket: UnixStream,
        receiver: Receiver,
        speaker: Option<Arc<Speaker>>,
        closer: Arc<Closer>,
        (user, share, permit): (u32, Arc<Share>, Option<Permit>),
    ) -> Self {
        let told = speaker.map(|speaker| Told {
            speaker,
            incoming: PingWatch::default(),
            ready: BytesMut::new(),
            outgoing: FrameWalk::default(),
            ping: Bytes::new(),
        });
        Self {
            socket,
            incoming: Incoming {
                receiver,
                frames: FrameTally::new(1),
                share,
                pause: None,
            },
            told,
            closer,
            user,
            permit,
            held: None,
        }
    }
}

impl Drop for ToldSocket {
    fn drop(&mut self) {
        self.held = self.closer.hold(&self.socket, self.user, self.permit.take());
    }
}

impl Told {
    fn poll_read(
        &mut self,
        socket: &mut UnixStream,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.speaker.on_ask(cx.waker());
        // Where the socket takes no more, it is tried again when it does.
        if let Poll::Ready(Err(error)) = self.poll_ping(socket, cx) {
            return Poll::Ready(Err(error));
        }
        while self.ready.is_empty() && buf.remaining() > 0 {
            if incoming.poll_ready(socket, cx)?.is_pending() {
                // Now that all was received, a PING may be due.
                return match self.poll_ping(socket, cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                };
            }
            let room = buf.initialize_unfilled();
            let Some(received) = incoming.receive(socket, room)? else {
                continue;
            };
            let arrived = room.get(..received.length).unwrap_or_default();
            if arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.speaker.heard(received.sender)?;
            if self.incoming.pass(arrived, self.speaker.awaited(), &mut self.ready) {
                self.speaker.acknowledged();
            }
        }
        let now = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready.split_to(now));
        Poll::Ready(Ok(()))
    }

    /// Writes a PING that is asked for, or the rest of one, as soon as it may stand there: between two frames, once all
    /// that the client had written was received. Only what is written after it, by a process that runs what was read, can
    /// be its acknowledgement; the octets of what was written before could still be put in.
    fn poll_ping(&mut self, socket: &mut UnixStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ping.is_empty()
            && self.speaker.is_asked()
            && self.outgoing.is_between_frames()
            && nothing_waits(socket)?
            && let Some(payload) = self.speaker.send()
        {
            self.ping = Bytes::copy_from_slice(&ping_frame(payload));
        }
        while !self.ping.is_empty() {
            match ready!(Pin::new(&mut *socket).poll_write(cx, &self.ping))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.ping.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, socket: &mut UnixStream, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ping(socket, cx))?;
        // Where a PING waits, no more than the frame that is under way.
        let end = if self.speaker.is_asked() {
            self.outgoing.clone().step(buf)
        } else {
            buf.len()
        };
        let now = buf.get(..end).unwrap_or(buf);
        let written = ready!(Pin::new(socket).poll_write(cx, now))?;
        self.outgoing.pass(now.get(..written).unwrap_or(now));
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for ToldSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self {
            socket, incoming, told, ..
        } = &mut *self;
        match told {
            Some(told) => told.poll_read(socket, incoming, cx, buf),
            None => incoming.poll_read(socket, cx, buf),
        }
    }
}

impl AsyncWrite for ToldSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, told, .. } = &mut *self;
        match told {
            Some(told) => told.poll_write(socket, cx, buf),
            None => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, told, .. } = &mut *self;
        match told {
            Some(told) => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
                told.poll_write(socket, cx, first)
            }
            None => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.told.is_none() && self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hallmark_workload::tell_senders;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;
    use crate::workload_api::shares::Shares;

    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// The octets of what was written could still be put in: a PING is sent when they have been received, and not before.
    #[tokio::test]
    async fn a_ping_is_sent_once_all_that_was_written_has_been_received() {
        let (mut client, server) = UnixStream::pair().unwrap();
        tell_senders(&server).unwrap();
        let receiver = Receiver::of(&server).unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let speaker = Arc::new(Speaker::new(me));
        let takes = (0, Shares::default().of(0), None);
        let mut told = ToldSocket::new(server, receiver, Some(Arc::clone(&speaker)), Arc::default(), takes);

        client.write_all(GREETING).await.unwrap();
        let asking = tokio::spawn(async move { speaker.acknowledge().await });
        tokio::task::yield_now().await;
        let mut arrived = [0; 100];
        for _ in 0..3 {
            told.write_all(SETTINGS).await.unwrap();
            client.read_exact(&mut arrived[..SETTINGS.len()]).await.unwrap();
            assert_eq!(&arrived[..SETTINGS.len()], SETTINGS);
        }
        let early = timeout(Duration::from_millis(100), client.read(&mut arrived)).await;
        assert!(early.is_err(), "what waits was not received yet: {early:?}");

        let mut read = [0; 100];
        assert_eq!(told.read(&mut read).await.unwrap(), GREETING.len());
        let (mut reading, mut writing) = (client, told);
        let served = tokio::spawn(async move { writing.read(&mut read).await.map(drop) });
        let mut ping = [0; 17];
        reading.read_exact(&mut ping).await.unwrap();
        assert_eq!(ping[3..5], [6, 0], "a PING");
        ping[4] = 1;
        reading.write_all(&ping).await.unwrap();
        asking.await.unwrap().unwrap();
        drop(reading);
        let _ = served.await.unwrap();
    }
}
