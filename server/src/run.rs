//! The start, step by step, and the orderly end.

pub(crate) mod parts;
mod wiring;

pub use wiring::Server;

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

use hallmark_host::{
    health::{self, Watched as _},
    log::{self, Log},
    notify,
};
use hallmark_reason::Report;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    api::entry::keep_pruned,
    attest, authority,
    clock::Clock,
    config::{Config, Listen, Source},
    errors::StartError,
    listener::{self, AdminSocket, Floods, STOP_GRACE},
    oidc, probe,
    reload::Reload,
    tls::{self, ServerIdentity},
    watched::WatchedServer,
};

/// How long work that no connection waits for may take at the end.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Runs the server until SIGTERM or SIGINT; SIGHUP reads the configuration again, also one that came before, for which `hangup`
/// stands.
///
/// # Errors
/// [`StartError`] when it cannot start or a listener fails.
pub fn run(source: Source, config: Config, hangup: Option<Signal>) -> Result<(), StartError> {
    let log = Log::start(&config.log.filter, config.log.format).map_err(|error| StartError::Runtime {
        what: "the log",
        cause: error.to_string(),
    })?;
    parts::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Runtime {
            what: "the async runtime",
            cause: error.to_string(),
        })?;
    let mut reload = Reload::new(source, &config);
    let mut journal = Weak::new();
    let outcome = runtime.block_on(async {
        let stop = until_signal()?;
        let mut hangup = hangup.map_or_else(|| handler(SignalKind::hangup()), Ok)?;
        let mut running = Running::start(config, Clock::system()).await?;
        journal = Arc::downgrade(&running.server.journal);
        notify("READY=1");
        let reloadable = running.server.reloadable.clone();
        let reloads = async {
            while hangup.recv().await.is_some() {
                reload.reload(&reloadable, &log).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = stop => tracing::info!("stopping"),
            () = reloads => {}
            // Without one of its listeners it is better started anew.
            error = running.failure() => return Err(error),
        }
        drop(reloadable);
        notify("STOPPING=1");
        running.stop().await
    });
    // Work that callers left behind ends here, and with the server go the token's sessions and the store's queue. The
    // process must not end before: a PKCS#11 module that is torn down while a thread is inside it may crash.
    runtime.shutdown_timeout(LAST_WORK);
    if journal.strong_count() == 0 {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped while some work was under way");
    }
    drop(log);
    outcome
}

/// A server that serves.
#[derive(Debug)]
pub struct Running {
    /// Its parts.
    pub server: Server,
    /// The address of the TLS listener.
    pub address: std::net::SocketAddr,
    /// Where OpenID Connect discovery is served, if it is.
    pub oidc: Option<health::Address>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), StartError>>,
}

impl Running {
    /// Starts a server: folders, store, token, authority, own identity, listeners.
    ///
    /// # Errors
    /// [`StartError`] naming the step that failed.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        let Listen { address, admin_socket } = config.listen.clone();
        let (probe_interval, health) = (config.hsm.probe_interval, config.health);
        let svid_lifetime = config.lifetimes.x509_svid.default;
        parts::data_folder(&config.data_dir)?;
        parts::store_is_local(&config.store)?;
        // Early, so that a second server stops before it touches anything; nobody is served yet.
        let tcp = listener::bind(address).await?;
        let socket = AdminSocket::bind(&admin_socket)?;
        let health = match health {
            Some(address) => Some(health::Listener::bind(health::Address::Tcp(address)).await?),
            None => None,
        };
        let oidc = match &config.oidc {
            Some(oidc) => Some(oidc::Socket::bind(&oidc.listen).await?),
            None => None,
        };
        // The token first: a store is not brought to a newer schema by a start that cannot serve.
        let keys = parts::keys(&config).await?;
        parts::require_older_usable(&config, &*keys, clock.unix()).await?;
        let store = parts::store(&config).await?;
        attest::tell_clock_that_went_back(&*store, &clock).await;
        let address = tcp.local_addr().unwrap_or(address);
        let server = parts::server(config, address, store, keys, clock).await?;
        let linked = crate::nodes::relink(&server.journal).await;
        linked.map_err(|error| StartError::Runtime {
            what: "the endorsement keys of machines",
            cause: Report(&error).to_string(),
        })?;
        // Nodes that the rules of before judged, and those that a server which ended had not come to. One of which what is
        // kept does not read back is told, and keeps nobody from being served.
        let judged = server.appraiser.judge_behind("the start").await;
        judged.map_err(|error| StartError::Runtime {
            what: "the nodes' verdicts",
            cause: Report(&error).to_string(),
        })?;
        server.probe.sign().await?;
        // Before the first SVID is issued: the next authority may be due to sign. A token that makes no keys keeps nobody from what the
        // one that signs issues.
        if let Err(error) = server.x509.keep().await {
            log::error(&error);
        }
        if let Err(error) = server.jwt.keep().await {
            log::error(&error);
        }
        let identity = ServerIdentity::issue(
            server.issuer.clone(),
            server.authority.clone(),
            server.journal.trust_domain().clone(),
            server.journal.clock().clone(),
            svid_lifetime,
        )
        .await?;
        let tls =
            tls::server_config(server.clients.clone(), Arc::clone(&identity)).map_err(|error| StartError::Runtime {
                what: "TLS",
                cause: error.to_string(),
            })?;
        let mut running = Self::serve(server, identity, tls, tcp, socket, address);
        running.watch(probe_interval, health);
        running.publish(oidc).await?;
        tracing::info!(%address, admin_socket = %admin_socket.display(), "serving");
        Ok(running)
    }

    fn serve(
        server: Server,
        identity: Arc<ServerIdentity>,
        tls: rustls::ServerConfig,
        tcp: TcpListener,
        socket: AdminSocket,
        address: std::net::SocketAddr,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let failed = |what| {
            move |error: tonic::transport::Error| StartError::Runtime {
                what,
                cause: error.to_string(),
            }
        };
        let public = listener::serve(
            tcp,
            tls,
            (server.clients.clone(), Floods::new(Arc::clone(&server.metrics))),
            server.services.public(),
            server.authorise.clone(),
            until(stopped.clone()),
        );
        tasks.spawn(async move { public.await.map_err(failed("the TLS listener")) });
        let local = socket.serve(
            server.services.local(),
            server.authorise.clone(),
            until(stopped.clone()),
        );
        tasks.spawn(async move { local.await.map_err(failed("the admin socket")) });
        let fresh = tls::keep_fresh(identity);
        let pruned = keep_pruned(Arc::clone(&server.journal));
        let judged = crate::appraise::keep_judging(Arc::clone(&server.appraiser));
        let jwt_keys = authority::keep_jwt_keys(Arc::clone(&server.jwt));
        let authorities = authority::keep_x509_authorities(Arc::clone(&server.x509));
        let published = authority::keep_published_keys(server.published.clone());
        let revoked = crate::appraise::revocation::keep_reading(Arc::clone(&server.appraiser));
        tasks.spawn(async move {
            tokio::select! {
                () = revoked => {}
                () = fresh => {}
                () = pruned => {}
                () = judged => {}
                never = jwt_keys => match never {},
                never = authorities => match never {},
                never = published => match never {},
                () = until(stopped) => {}
            }
            Ok(())
        });
        Self {
            server,
            address,
            oidc: None,
            stop,
            tasks,
        }
    }

    /// Serves OpenID Connect discovery, where that is configured.
    async fn publish(&mut self, socket: Option<oidc::Socket>) -> Result<(), StartError> {
        let Some((socket, provider)) = socket.zip(self.server.oidc.clone()) else {
            return Ok(());
        };
        provider.read_certificate().await?;
        self.oidc = socket.address();
        let address = self.oidc.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(address, "OpenID Connect discovery is served");
        let stopped = self.stop.subscribe();
        self.tasks.spawn(async move {
            tokio::select! {
                served = oidc::serve(socket, provider) => served.map(|never| match never {}),
                () = until(stopped) => Ok(()),
            }
        });
        Ok(())
    }

    /// Looks after what shows only when it is tried, and tells whoever watches.
    fn watch(&mut self, probe_interval: Duration, listener: Option<health::Listener>) {
        let (server, stopped) = (&self.server, self.stop.subscribe());
        let (journal, metrics) = (Arc::clone(&server.journal), Arc::clone(&server.metrics));
        let (probe, age) = (Arc::clone(&server.probe), server.age.clone());
        let watched = WatchedServer::new(Arc::clone(&journal), Arc::clone(&server.health), Arc::clone(&metrics));
        let watched = Arc::new(watched);
        let told = Arc::clone(&watched);
        let telling = async move {
            match listener {
                Some(listener) => {
                    tracing::info!(address = %listener.address(), "health is served");
                    health::serve(listener, told, pending()).await;
                }
                None => pending().await,
            }
        };
        let lives = Arc::clone(&watched);
        let watchdog = async move {
            match health::watchdog_interval() {
                Some(interval) => health::keep_watchdog(interval, || lives.live()).await,
                None => pending().await,
            }
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = probe::keep_probing(probe, probe_interval) => {}
                () = authority::keep_telling(age, metrics) => {}
                () = attest::keep_clock_watched(journal) => {}
                () = health::keep_looking("the server", &*watched) => {}
                () = telling => {}
                () = watchdog => {}
                () = until(stopped) => {}
            }
            Ok(())
        });
    }

    /// Waits for a part to end that should not.
    pub async fn failure(&mut self) -> StartError {
        let cause = match self.tasks.join_next().await {
            Some(Ok(Err(error))) => return error,
            Some(Err(error)) => error.to_string(),
            Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
        };
        StartError::Runtime {
            what: "a listener",
            cause,
        }
    }

    /// Takes no new connections, lets open requests finish, and stops.
    ///
    /// # Errors
    /// When a listener had failed.
    pub async fn stop(mut self) -> Result<(), StartError> {
        self.stop.send_replace(true);
        let finish = async {
            let mut outcome = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                outcome = outcome.and(ended.unwrap_or(Ok(())));
            }
            outcome
        };
        tokio::time::timeout(STOP_GRACE, finish).await.unwrap_or_else(|_| {
            tracing::warn!("some requests were still open and were cut off");
            Ok(())
        })
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error says that the server is gone: also a reason to stop.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// A handler that stands from now on, so that no signal is missed during the start.
fn handler(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|error| StartError::Runtime {
        what: "the signal handler",
        cause: error.to_string(),
    })
}

/// SIGTERM or SIGINT.
fn until_signal() -> Result<impl Future<Output = ()>, StartError> {
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
