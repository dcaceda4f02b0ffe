//! The TLS listener.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hallmark_host::log::LogThrottle;
use http::Request;
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{body::Body, service::Routes, transport::server::Connected as _};
use tower::util::MapRequestLayer;

use super::{
    flood::Floods,
    grpc,
    lifetime::{Lifetime, Stranger},
};
use crate::{
    caller::AuthoriseLayer,
    connection::TlsInfo,
    errors::StartError,
    tls::{Clients, TlsConnection},
};

/// The client's first message of the handshake has to be here within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// The rest of the handshake has to be done within this time; it includes a signature by the client's TPM.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever shows no certificate has to send a request within this time; it includes what an agent asks its TPM.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
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
    listener: TcpListener,
    tls: ServerConfig,
    (clients, floods): (Clients, Floods),
    routes: Routes,
    authorise: AuthoriseLayer,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (ready, connections) = mpsc::channel(64);
    let accepting = tokio::spawn(accept((clients, floods), listener, Arc::new(tls), ready));
    grpc()
        // Told a grace too, the transport would wait for both and then cut without a word; `Lifetime` cuts instead.
        .max_connection_age(MAX_AGE)
        .layer(MapRequestLayer::new(note_use))
        .layer(authorise)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async {
            stop.await;
            // Closes the port at once; who is in the handshake is turned away.
            accepting.abort();
        })
        .await
}

/// A connection that carries requests is no longer one that waits for its first.
fn note_use(request: Request<Body>) -> Request<Body> {
    if let Some(connection) = request.extensions().get::<TlsInfo>() {
        connection.used.set();
    }
    request
}

type Ready = mpsc::Sender<io::Result<Lifetime<TlsConnection>>>;

async fn accept((clients, floods): (Clients, Floods), listener: TcpListener, tls: Arc<ServerConfig>, ready: Ready) {
    let (too_many, failed) = (LogThrottle::new(), LogThrottle::new());
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = failed.due(Instant::now()) {
                    tracing::warn!(%error, left_out, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(occupant) = clients.admit(remote.ip()) else {
            if let Some(left_out) = too_many.due(Instant::now()) {
                tracing::warn!(%remote, left_out, "too many connections: one was turned away ([limits] connections)");
            }
            continue;
        };
        let (clients, floods, tls, ready) = (clients.clone(), floods.clone(), Arc::clone(&tls), ready.clone());
        tokio::spawn(async move {
            let taken_away = occupant.taken_away();
            let shaken = tokio::select! {
                shaken = shake_hands(tls, stream) => shaken,
                () = taken_away => Err(io::ErrorKind::ConnectionReset.into()),
            };
            let connection = shaken.and_then(|stream| TlsConnection::new(&clients, stream, remote, occupant));
            match connection {
                // It fails only when the server is stopping.
                Ok(connection) => drop(ready.send(Ok(lifetime(connection, floods))).await),
                Err(error) => tracing::debug!(%remote, %error, "handshake failed"),
            }
        });
    }
}

async fn shake_hands(tls: Arc<ServerConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let hello = timeout(HELLO_TIMEOUT, LazyConfigAcceptor::new(Acceptor::default(), stream)).await??;
    timeout(HANDSHAKE_TIMEOUT, hello.into_stream(tls)).await?
}

fn lifetime(connection: TlsConnection, floods: Floods) -> Lifetime<TlsConnection> {
    let (used, taken_away) = (connection.used(), connection.occupant().taken_away());
    let TlsInfo { peer, remote, .. } = connection.connect_info();
    let stranger = peer.is_none().then(|| Stranger {
        within: FIRST_REQUEST,
        used,
        flooded: Box::new(move || floods.note(remote)),
    });
    Lifetime::new(connection, MAX_AGE + AGE_GRACE, stranger, taken_away)
}
