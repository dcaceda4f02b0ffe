//! Accepting and serving connections.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hallmark_unix::AuthorityFilter;
use hallmark_workload::{Peer, Receiver, UnixAttestor, Users};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::service::Routes;

use super::answers::Answers;
use super::caller::{Caller, Exit};
use super::closing::Closer;
use super::concurrency::{Bounds, ConcurrencyLimit, Usage, User};
use super::listener::Listener;
use super::per_user_queue::PerUserQueue;
use super::service::{Shared, answer};
use super::shares::Shares;
use super::speaker::Speaker;
use super::told_socket::ToldSocket;
use crate::agent::Demand;
use crate::cache::Cache;
use hallmark_host::log::LogThrottle;

/// The largest request header list, in octets by HPACK's count.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// How often an idle client is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to say that it speaks HTTP/2.
const GREETING: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has no file descriptors left.
const REST: Duration = Duration::from_millis(50);

/// Threads that read binaries. Few are ever there; one whose file system never answers is held until it does, and each user
/// can hold one.
const READERS: usize = 512;
/// How long those have to come back when the agent stops.
const LAST_READERS: Duration = Duration::from_secs(1);
/// How many octets of one call, and of all calls of one connection, a client may send before they are read. A request
/// is 16 KiB at most; HTTP/2 knows no smaller window for a connection (RFC 9113, section 6.9.2).
const STREAM_WINDOW: u32 = 32 << 10;
const CONNECTION_WINDOW: u32 = 65_535;

/// Whom a connection counts as whose user the kernel does not tell.
const NOBODY: u32 = u32::MAX;

/// The Workload API server.
pub struct WorkloadApi {
    shared: Arc<Shared>,
    attestor: Arc<UnixAttestor>,
    users: Users,
    connections: Arc<ConcurrencyLimit>,
    queue: Arc<PerUserQueue>,
    closer: Arc<Closer>,
    shares: Shares,
    refused: LogThrottle,
    too_many: LogThrottle,
    http: http2::Builder<TokioExecutor>,
}

impl WorkloadApi {
    /// A server of what is in `cache`, to whom `attestor` says; callers are counted by `users`. What is not in the cache yet
    /// is asked of `demand`.
    #[must_use]
    pub fn new(cache: Cache, demand: Demand, attestor: UnixAttestor, users: Users, bounds: Bounds) -> Self {
        let shared = Shared {
            cache,
            answers: Arc::new(Answers::new(demand)),
            streams: ConcurrencyLimit::new(bounds.streams, bounds.streams_per_uid),
            others: reflection(),
        };
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(bounds.streams_per_connection)
            .max_header_list_size(MAX_HEADER_LIST)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Self {
            shared: Arc::new(shared),
            attestor: Arc::new(attestor),
            users,
            connections: ConcurrencyLimit::new(bounds.connections, bounds.connections_per_uid),
            queue: Arc::default(),
            closer: Arc::default(),
            shares: Shares::default(),
            refused: LogThrottle::new(),
            too_many: LogThrottle::new(),
            http,
        }
    }

    /// What callers take of it.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            connections: Arc::clone(&self.connections),
            streams: Arc::clone(&self.shared.streams),
            cuts: self.shared.answers.cuts(),
        }
    }

    /// Serves until `stop` resolves; then every connection is closed and the socket file removed.
    ///
    /// It runs on a thread of its own: no call waits for whatever else the agent does (a TPM may take a
    /// second for one signature), and a call costs half as much where no second thread is woken for it.
    pub async fn serve(self, listener: Listener, stop: impl Future<Output = ()>) {
        // The thread stops when this is dropped, with this future if need be.
        let (stopping, stopped) = oneshot::channel::<()>();
        let (ending, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("workload-api".into()).spawn(move || {
            let _ending = ending;
            let runtime = runtime::Builder::new_current_thread()
                .max_blocking_threads(READERS)
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(self.accept(listener, stopped));
                    runtime.shutdown_timeout(LAST_READERS);
                }
                Err(error) => tracing::error!(%error, "the Workload API cannot be served"),
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "the Workload API cannot be served");
            return;
        }
        tokio::pin!(ended);
        tokio::select! {
            () = stop => drop(stopping),
            _ = &mut ended => return,
        }
        ended.await.ok();
    }

    async fn accept(self, listener: Listener, mut stopped: oneshot::Receiver<()>) {
        let socket = match listener.socket() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "the Workload API cannot be served");
                return;
            }
        };
        tracing::info!(socket = %listener.path().display(), "the Workload API is served");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(_) = connections.join_next() => {}
                accepted = socket.accept() => match accepted {
                    Ok((socket, _)) => self.welcome(socket, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(REST).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }

    /// Pins the peer and starts serving it. Whoever is refused here finds its connection closed.
    fn welcome(&self, socket: UnixStream, connections: &mut JoinSet<()>) {
        let peer = match Peer::of(&socket) {
            Ok(peer) => peer,
            Err(error) => {
                if let Some(left_out) = self.refused.due(Instant::now()) {
                    tracing::info!(%error, left_out, "a connection is refused");
                }
                // Who has gone may have left something all the same.
                let uid = socket.peer_cred().map_or(NOBODY, |credentials| credentials.uid());
                let held = self.closer.hold(&socket, self.users.counts_as(uid), None);
                drop(socket);
                drop(held);
                return;
            }
        };
        let user = User {
            id: self.users.counts_as(peer.uid()),
            root: peer.uid() == 0,
        };
        let Some(permit) = self.connections.take(user) else {
            if let Some(left_out) = self.too_many.due(Instant::now()) {
                let (uid, pid) = (peer.uid(), peer.pid());
                tracing::warn!(uid, user = user.id, pid, left_out, "too many connections");
            }
            let held = self.closer.hold(&socket, user.id, None);
            drop(socket);
            drop(held);
            return;
        };
        let receiver = match Receiver::of(&socket) {
            Ok(receiver) => receiver,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be read");
                let held = self.closer.hold(&socket, user.id, Some(permit));
                drop(socket);
                drop(held);
                return;
            }
        };
        // Who is to tell who speaks on a connection, where anybody may want to know.
        let is_told = self.attestor.reads_binaries() && receiver.is_told();
        let speaker = is_told.then(|| Arc::new(Speaker::new(peer.pid())));
        let takes = (user.id, self.shares.of(user.id), Some(permit));
        let told = ToldSocket::new(socket, receiver, speaker.clone(), Arc::clone(&self.closer), takes);
        let (attestor, queue) = (Arc::clone(&self.attestor), Arc::clone(&self.queue));
        let caller = Arc::new(Caller::new(peer, user, attestor, queue, speaker));
        match Exit::of(&caller) {
            Ok(exit) => {
                connections.spawn(self.connection(told, caller, exit));
            }
            Err(error) => tracing::warn!(%error, "a caller's end cannot be watched"),
        }
    }

    /// One connection, until either side closes it or the process that opened it ends.
    fn connection(&self, socket: ToldSocket, caller: Arc<Caller>, exit: Exit) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&caller), request));
        let socket = AuthorityFilter::new(socket, tokio::time::sleep(GREETING));
        let serving = self.http.serve_connection(TokioIo::new(socket), service);
        async move {
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::debug!(%error, "connection ended");
                },
                () = exit.wait() => tracing::debug!("connection closed: its process has ended"),
            }
        }
    }
}

/// Server reflection, both versions (Workload Endpoint, section 7). It needs no security metadata: the
/// descriptors are public.
fn reflection() -> Routes {
    let mut builder = Routes::builder();
    let configured = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hallmark_api::WORKLOAD_DESCRIPTORS)
    };
    match (configured().build_v1(), configured().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            builder.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no server reflection"),
    }
    builder.routes().prepare()
}
