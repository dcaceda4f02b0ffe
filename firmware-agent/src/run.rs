//! `hallmark-agent run`: the parts, put together.

use std::{future::pending, sync::Arc, time::Duration};

use hallmark_host::{
    health::{self, Watched as _},
    notify,
};
use hallmark_reason::Coded;
use hallmark_tpm::{EsysTpm, TpmHandle};
use hallmark_workload::{UnixAttestor, Users};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use crate::{
    AgentError,
    agent::Agent,
    cache::{self, Cache, Snapshot},
    condition::TpmUse,
    config::Config,
    healthcheck,
    readiness::{Readiness, Watch},
    reload::Reload,
    state::StateFile,
    workload_api::{Bounds, Listener, WorkloadApi},
};

/// How long the TPM may take to finish its last command when the agent stops.
const LAST_COMMAND: Duration = Duration::from_secs(20);

/// Runs the agent until a signal asks it to stop; SIGHUP reads the configuration again, also one that came
/// before, for which `hangup` stands.
///
/// # Errors
/// The agent cannot start (data folder, socket, TPM), or the machine was banned.
pub async fn run(config: Config, mut reload: Reload, hangup: Option<Signal>) -> Result<(), Box<dyn Coded + Send>> {
    let signals = signals()?;
    let hangup = hangup.map_or_else(|| handler(SignalKind::hangup()), Ok)?;
    let state = StateFile::open(&config.data_dir).map_err(coded)?;
    let attestor = UnixAttestor::new(config.unix);
    let listener = Listener::take_or_bind(&config.socket, &attestor).map_err(coded)?;
    let tpm_use = Arc::new(TpmUse::default());
    let tpm = open_tpm(&config).await.map_err(coded)?.observed_by(tpm_use.clone());

    let (publisher, cache) = cache::channel(Snapshot::empty(config.trust_domain.clone()));
    let (addresses, socket) = (health_addresses(&config), config.socket.clone());
    let mut agent = Agent::start(config, tpm.clone(), state, publisher);
    let (stop, mut stopping) = watch::channel(false);
    let bounds = Bounds::default().within(open_files());
    let api = WorkloadApi::new(
        cache.clone(),
        agent.demand(),
        attestor,
        Users::of_this_machine(),
        bounds,
    );
    let usage = api.usage();
    let mut serving = tokio::spawn(api.serve(listener, async move {
        // The sender's end means the same.
        let _ = stopping.changed().await;
    }));
    let readiness = Arc::new(Readiness::new(Watch {
        condition: agent.condition(),
        last_reload: reload.last(),
        tpm: tpm.clone(),
        tpm_use,
        cache: cache.clone(),
        socket,
        issue: agent.issue(),
        usage,
    }));
    let mut beside = JoinSet::new();
    for address in addresses {
        let listener = health::Listener::bind(address)
            .await
            .map_err(|error| coded(AgentError::from(error)))?;
        tracing::info!(address = %listener.address(), "health is served");
        beside.spawn(health::serve(listener, Arc::clone(&readiness), pending()));
    }
    if let Some(interval) = health::watchdog_interval() {
        let watched = Arc::clone(&readiness);
        let live = move || {
            let watched = Arc::clone(&watched);
            async move { watched.live().await }
        };
        beside.spawn(health::keep_watchdog(interval, live));
    }
    beside.spawn(async move { health::keep_looking("the agent", &*readiness).await });
    beside.spawn(announce(cache));

    let ended = tokio::select! {
        ended = agent.ended() => Err(ended),
        () = signals => Ok(()),
        () = reload.follow(hangup) => Ok(()),
        // Without its sockets it is better started anew.
        _ = &mut serving => Err(AgentError::TaskEnded { task: "Workload API", detail: "it ended of itself".into() }),
    };

    notify("STOPPING=1");
    beside.shutdown().await;
    let _ = stop.send(true);
    if !serving.is_finished() {
        let _ = serving.await;
    }
    agent.stop().await;
    if timeout(LAST_COMMAND, tpm.stop()).await.is_err() {
        tracing::warn!("the TPM did not finish in time");
    }
    tracing::info!("stopped");
    ended.map_err(coded)
}

/// Where the agent tells how it is doing: to its own health check beside the Workload API's socket, and to others where
/// the configuration says.
fn health_addresses(config: &Config) -> Vec<health::Address> {
    let own = health::Address::Unix(healthcheck::socket(config));
    let more = config.health.map(health::Address::Tcp);
    std::iter::once(own).chain(more).collect()
}

/// Opens the TPM on its own thread.
///
/// # Errors
/// There is no TPM, or it may not be opened.
pub(crate) async fn open_tpm(config: &Config) -> Result<TpmHandle, AgentError> {
    let (tcti, templates) = (config.tcti.clone(), config.ek_templates.clone());
    let system = |detail: String| AgentError::System { detail };
    let tpm = spawn_blocking(move || EsysTpm::open(tcti))
        .await
        .map_err(|error| system(error.to_string()))??;
    let tpm = tpm
        .with_ek_templates(templates)
        .with_endorsement_auth(config.endorsement_auth.clone());
    TpmHandle::spawn(tpm).map_err(|error| system(error.to_string()))
}

/// Takes as many open files as the system allows, and says how many those are.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, highest) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    // None stands for no limit.
    now.unwrap_or(u64::MAX)
}

fn coded(error: impl Coded + Send + 'static) -> Box<dyn Coded + Send> {
    Box::new(error)
}

/// A handler that stands from now on, so that no signal is missed during the start.
fn handler(kind: SignalKind) -> Result<Signal, Box<dyn Coded + Send>> {
    signal(kind).map_err(|error| {
        coded(AgentError::System {
            detail: error.to_string(),
        })
    })
}

fn signals() -> Result<impl Future<Output = ()>, Box<dyn Coded + Send>> {
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn announce(cache: Cache) {
    let mut changes = cache.subscribe();
    if changes.wait_for(|snapshot| snapshot.ready).await.is_ok() {
        tracing::info!("ready");
        notify("READY=1");
    }
}
