//! The TLS listener.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::{grpc, lifetime::Lifetime};
use crate::{caller::AuthoriseLayer, errors::StartError, seats::Seats, service, state::Server, tls::TlsConnection};

/// Connections at a time, those still in their handshake included; one address may have half of them. Fewer where
/// the system allows fewer open files.
const MAX_CONNECTIONS: usize = 8192;
/// A handshake has to be done within this time; it includes a signature by the client's TPM.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections are closed after this time, so that agents spread over servers and certificates are seen again.
const MAX_AGE: Duration = Duration::from_secs(180);
/// How long requests may go on after that.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// After a failure to accept (no file descriptors left), a moment for some to be given back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address.
///
/// # Errors
/// When it is taken or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Address {
        address,
        cause: error.to_string(),
    })
}

/// Serves until `stop` is done, then until open requests are.
///
/// # Errors
/// When the listener fails as a whole.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: rustls::ServerConfig,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (ready, connections) = mpsc::channel(64);
    let accepting = tokio::spawn(accept(
        Arc::clone(&server),
        listener,
        TlsAcceptor::from(Arc::new(tls)),
        ready,
    ));
    grpc()
        // Told a grace too, the transport would wait for both and then cut without a word; `Lifetime` cuts instead.
        .max_connection_age(MAX_AGE)
        .layer(AuthoriseLayer(Arc::clone(&server)))
        .add_routes(service::public(&server))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async {
            stop.await;
            // Closes the port at once; who is in the handshake is turned away.
            accepting.abort();
        })
        .await
}

type Ready = mpsc::Sender<io::Result<Lifetime<TlsConnection>>>;

async fn accept(server: Arc<Server>, listener: TcpListener, acceptor: TlsAcceptor, ready: Ready) {
    let limit = open_files().map_or(MAX_CONNECTIONS, |files| MAX_CONNECTIONS.min(files / 2));
    let seats = Seats::new(limit);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seats.try_take(remote.ip().to_canonical()) else {
            tracing::warn!(%remote, limit, "too many connections: one was turned away");
            continue;
        };
        let (server, acceptor, ready) = (Arc::clone(&server), acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(&acceptor, stream)).await;
            let connection = match shaken {
                Ok(Ok(stream)) => TlsConnection::new(&server, stream, remote, seat),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            match connection {
                // It fails only when the server is stopping.
                Ok(connection) => drop(ready.send(Ok(Lifetime::new(connection, MAX_AGE + AGE_GRACE))).await),
                Err(error) => tracing::debug!(%remote, %error, "handshake failed"),
            }
        });
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    acceptor.accept(stream).await
}

/// How many files this process may have open.
fn open_files() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    usize::try_from(limit).ok()
}
