//! `hallmark-agent run`: the parts, put together.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hallmark_host::notify;
use hallmark_reason::Coded;
use hallmark_tpm::{EsysTpm, TpmHandle};
use hallmark_workload::{UnixAttestor, Users};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
    time::{interval, timeout},
};

use crate::{
    AgentError,
    agent::Agent,
    cache::{self, Cache, Snapshot},
    config::Config,
    reload::Reload,
    state::StateFile,
    workload_api::{Bounds, Listener, WorkloadApi},
    workloads::Workloads,
};

/// How often expired SVIDs are looked for.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);
/// How long the TPM may take to finish its last command when the agent stops.
const LAST_COMMAND: Duration = Duration::from_secs(20);

/// Runs the agent until a signal asks it to stop; SIGHUP reads the configuration again.
///
/// # Errors
/// The agent cannot start (data folder, socket, TPM), or the machine was banned.
pub async fn run(config: Config, mut reload: Reload) -> Result<(), Box<dyn Coded + Send>> {
    let signals = signals()?;
    let hangup = handler(SignalKind::hangup())?;
    let state = StateFile::open(&config.data_dir).map_err(coded)?;
    let attestor = UnixAttestor::new(config.unix);
    let listener = Listener::bind_for(&config.socket, &attestor).map_err(coded)?;
    let tpm = open_tpm(&config).await.map_err(coded)?;

    let (publisher, cache) = cache::channel(Snapshot::empty(config.trust_domain.clone()));
    let workloads = Arc::new(Mutex::new(Workloads::new(config.trust_domain.clone(), publisher)));
    let (stop, mut stopping) = watch::channel(false);
    let bounds = Bounds::default().within(open_files());
    let api = WorkloadApi::new(cache.clone(), attestor, Users::of_this_machine(), bounds);
    let serving = tokio::spawn(api.serve(listener, async move {
        // The sender's end means the same.
        let _ = stopping.changed().await;
    }));
    let expiry = tokio::spawn(expire(Arc::clone(&workloads)));
    let readiness = tokio::spawn(announce(cache));

    let agent = Agent::new(config, tpm.clone(), state, workloads);
    let ended = tokio::select! {
        ended = agent.run() => ended,
        () = signals => Ok(()),
        () = reload.follow(hangup) => Ok(()),
    };

    notify("STOPPING=1");
    readiness.abort();
    expiry.abort();
    let _ = stop.send(true);
    let _ = serving.await;
    if timeout(LAST_COMMAND, tpm.stop()).await.is_err() {
        tracing::warn!("the TPM did not finish in time");
    }
    tracing::info!("stopped");
    ended.map_err(coded)
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
    TpmHandle::spawn(tpm.with_ek_templates(templates)).map_err(|error| system(error.to_string()))
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

/// SVIDs stop being served when they expire, whatever the rest of the agent is waiting for.
async fn expire(workloads: Arc<Mutex<Workloads>>) {
    let mut ticks = interval(EXPIRY_EVERY);
    loop {
        ticks.tick().await;
        workloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expire(SystemTime::now());
    }
}

async fn announce(cache: Cache) {
    let mut changes = cache.subscribe();
    if changes.wait_for(|snapshot| snapshot.ready).await.is_ok() {
        tracing::info!("ready");
        notify("READY=1");
    }
}
