//! An accepted connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hallmark_evidence::{EXPORTER_LABEL, EXPORTER_LEN};
use rustls::{ProtocolVersion, ServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use zeroize::Zeroizing;

use super::Clients;
use crate::{
    connection::{TlsInfo, Used},
    limits::Occupant,
};

/// A connection after its handshake; it counts against the limit of connections until it is dropped.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    info: TlsInfo,
    occupant: Occupant,
}

impl TlsConnection {
    /// What is known after the handshake.
    ///
    /// # Errors
    /// When the client's certificate no longer verifies, or the exporter fails.
    pub fn new(
        clients: &Clients,
        stream: TlsStream<TcpStream>,
        remote: SocketAddr,
        occupant: Occupant,
    ) -> io::Result<Self> {
        let (_, session) = stream.get_ref();
        // The handshake has verified the chain and the key; this reads from it once more what requests need.
        let shown = session
            .peer_certificates()
            .filter(|chain| !chain.is_empty())
            .map(|chain| clients.verify(chain).map(Arc::new))
            .transpose()
            .map_err(io::Error::other)?;
        let (peer, below) = match shown {
            Some(leaf) if clients.is_own(&leaf) => (Some(leaf), None),
            other => (None, other),
        };
        if let Some(leaf) = &peer {
            // It has an SVID: it does not make room for strangers.
            occupant.keep();
            clients.note_node(leaf, remote.ip());
        }
        let exporter = exporter(session).map_err(io::Error::other)?.map(Arc::new);
        Ok(Self {
            info: TlsInfo {
                remote,
                peer,
                below,
                used: Used::default(),
                exporter,
                origin: Arc::default(),
            },
            stream,
            occupant,
        })
    }

    /// Its place among the connections.
    #[must_use]
    pub const fn occupant(&self) -> &Occupant {
        &self.occupant
    }

    /// Whether a request has come.
    #[must_use]
    pub fn used(&self) -> Used {
        self.info.used.clone()
    }
}

/// The value that ties evidence to this connection. TLS 1.2 has none that an active attacker could not steer.
fn exporter(session: &ServerConnection) -> Result<Option<Zeroizing<[u8; EXPORTER_LEN]>>, rustls::Error> {
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(None);
    }
    let value = Zeroizing::new([0; EXPORTER_LEN]);
    session.export_keying_material(value, EXPORTER_LABEL, None).map(Some)
}

impl Connected for TlsConnection {
    type ConnectInfo = TlsInfo;

    fn connect_info(&self) -> TlsInfo {
        self.info.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// HTTP/2 then puts the frames of a short answer (headers, message, trailers) into one buffer: one TLS record and one
    /// write to the socket in place of three.
    fn is_write_vectored(&self) -> bool {
        false
    }
}
