//! Whether the agent does its work: the true state, with reasons.

mod fault;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_host::{
    LastReload,
    health::{LastReport, Part, Report, State, Watched},
};
use hallmark_reason::Coded as _;
use hallmark_tpm::{TpmError, TpmHandle};
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::{
    agent::IssueHandle,
    cache::{Cache, Snapshot},
    condition::{Condition, Failure, Noted, TpmUse},
    metrics::Metrics,
    workload_api::{CutAnswer, Usage},
};
pub(crate) use fault::Fault;

/// How long the TPM may take to answer a question that it has at hand.
const TPM_ANSWER: Duration = Duration::from_secs(3);
/// How long one piece of work may keep the TPM busy before it counts as silent.
const TPM_BUSY: Duration = Duration::from_secs(30);
/// How long the server may be silent before that is told.
const SERVER_SILENT: Duration = Duration::from_secs(60);
/// How long a task may take for one turn: attestations with a slow TPM and long logs are the longest.
const TURN: Duration = Duration::from_secs(600);
/// How long an answer of the Workload API, or of a task that never waits, may take.
const SOON: Duration = Duration::from_secs(2);

/// A client's preface and empty SETTINGS (RFC 9113, section 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The header of the server's SETTINGS.
const FRAME_HEADER: usize = 9;

/// What is watched of the agent.
pub struct Readiness {
    condition: Arc<Condition>,
    last_reload: Arc<LastReload>,
    tpm: TpmHandle,
    tpm_use: Arc<TpmUse>,
    cache: Cache,
    socket: PathBuf,
    issue: IssueHandle,
    usage: Usage,
    metrics: Metrics,
    last: LastReport,
}

/// The parts of an agent that are watched.
pub(crate) struct Watch {
    /// What its tasks note.
    pub(crate) condition: Arc<Condition>,
    /// How the last reload went.
    pub(crate) last_reload: Arc<LastReload>,
    /// The TPM.
    pub(crate) tpm: TpmHandle,
    /// What the TPM's thread does.
    pub(crate) tpm_use: Arc<TpmUse>,
    /// What workloads are served.
    pub(crate) cache: Cache,
    /// Where they are served.
    pub(crate) socket: PathBuf,
    /// The task that has the workloads' SVIDs.
    pub(crate) issue: IssueHandle,
    /// What workloads take of the agent.
    pub(crate) usage: Usage,
}

impl Readiness {
    pub(crate) fn new(watch: Watch) -> Self {
        Self {
            metrics: Metrics::new(&watch.tpm_use),
            condition: watch.condition,
            last_reload: watch.last_reload,
            tpm: watch.tpm,
            tpm_use: watch.tpm_use,
            cache: watch.cache,
            socket: watch.socket,
            issue: watch.issue,
            usage: watch.usage,
            last: LastReport::default(),
        }
    }

    async fn look(&self) -> Report {
        let noted = self.condition.read();
        let (tpm, served) = tokio::join!(self.tpm_failure(), self.served());
        let tpm = tpm.map(|failure| failed("tpm", failure));
        let mut parts = vec![
            tpm.unwrap_or_else(|| Part::good("tpm")),
            identity(&noted, SystemTime::now()),
            self.server(&noted),
            svids(&noted, &self.cache.snapshot()),
            workload_api(served.as_ref(), self.usage.cuts.lately()),
            state(&noted),
        ];
        parts.extend(self.last_reload.part());
        Report::new(parts)
    }

    /// Why the TPM does not work; it is asked something unless it works at this moment.
    async fn tpm_failure(&self) -> Option<Failure> {
        let silent = |after| Some(Failure::of(&Fault::TpmSilent { after }));
        let now = self.tpm_use.read();
        if let Some(since) = now.busy_since {
            let after = since.elapsed();
            return if after < TPM_BUSY {
                now.last.and_then(|(_, failure)| failure)
            } else {
                silent(after)
            };
        }
        // The library remembers what a TPM says of itself, so only a register is sure to be asked for.
        let Ok(selection) = PcrSelection::new([(HashAlg::Sha256, [0].as_slice())]) else {
            return silent(TPM_ANSWER);
        };
        match timeout(TPM_ANSWER, self.tpm.read_pcrs(selection)).await {
            // A TPM without this register has answered.
            Ok(Ok(_) | Err(TpmError::PcrNotAllocated { .. })) => None,
            Ok(Err(error)) => Some(Failure::of(&error)),
            Err(_) => silent(TPM_ANSWER),
        }
    }

    /// The server may be away for a while: what was issued goes on.
    fn server(&self, noted: &Noted) -> Part {
        let Some(synced) = noted.synced else {
            let failure = noted.not_synced.clone().or_else(|| noted.not_attested.clone());
            return failed("server", failure.unwrap_or_else(|| Failure::of(&Fault::NoAnswer)));
        };
        match &noted.not_synced {
            Some(failure) if synced.elapsed() > SERVER_SILENT => {
                let text = format!(
                    "{}; the last answer is {} s old",
                    failure.text,
                    synced.elapsed().as_secs()
                );
                Part::with_reason("server", State::Warning, failure.code, text)
            }
            _ => unanswered(noted),
        }
    }

    /// Whether workloads are answered at the agent's socket.
    async fn served(&self) -> Option<Fault> {
        let fault = |detail: String| Fault::NotServed {
            socket: self.socket.clone(),
            detail,
        };
        match timeout(SOON, greeted(&self.socket)).await {
            Ok(greeted) => greeted.err().map(|error| fault(error.to_string())),
            Err(_) => Some(fault("no answer in time".into())),
        }
    }
}

/// Has the Workload API say what every HTTP/2 server says first: that is done by the thread that serves.
async fn greeted(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(GREETING).await?;
    stream.read_exact(&mut [0; FRAME_HEADER]).await.map(drop)
}

/// Entries are told, but no SVIDs given: what was issued goes on.
fn unanswered(noted: &Noted) -> Part {
    match &noted.not_issued {
        Some((since, failure)) if since.elapsed() > SERVER_SILENT => {
            let text = format!("{}; for {} s", failure.text, since.elapsed().as_secs());
            Part::with_reason("server", State::Warning, failure.code, text)
        }
        _ => Part::good("server"),
    }
}

/// An entry has no SVID for a moment when it is new; what counts is what is left after the first try.
fn svids(noted: &Noted, snapshot: &Snapshot) -> Part {
    let entries = snapshot.entries.iter().filter(|entry| entry.wanted).count();
    let is_fresh = noted.synced.is_some_and(|synced| synced.elapsed() < SERVER_SILENT);
    let missing = if is_fresh {
        noted.unissued.min(entries)
    } else {
        snapshot.entries.iter().filter(|entry| entry.is_missing()).count()
    };
    let fault = Failure::of(&Fault::Unissued { missing, entries });
    match missing {
        // Which entries there are is known from the server alone.
        0 if noted.synced.is_none() => failed("svids", Failure::of(&Fault::NoAnswer)),
        0 => match &noted.not_taken {
            None => Part::good("svids"),
            Some((_, failure)) => Part::with_reason("svids", State::Warning, failure.code, failure.text.clone()),
        },
        all if all == entries => failed("svids", fault),
        _ => Part::with_reason("svids", State::Warning, fault.code, fault.text),
    }
}

/// A workload that lacks some of its SVIDs has its default one all the same.
fn workload_api(served: Option<&Fault>, cut: Option<CutAnswer>) -> Part {
    match cut {
        Some(cut) if served.is_none() => Part::with_reason("workload-api", State::Warning, cut.code(), cut.to_string()),
        _ => Part::of("workload-api", served),
    }
}

/// A good identity serves until it ends, also where the next attestation fails.
fn identity(noted: &Noted, now: SystemTime) -> Part {
    let is_valid = noted.valid_until.is_some_and(|end| now < end);
    match (is_valid, noted.not_attested.clone()) {
        (true, None) => Part::good("identity"),
        (true, Some(failure)) => Part::with_reason("identity", State::Warning, failure.code, failure.text),
        (false, failure) => failed("identity", failure.unwrap_or_else(|| Failure::of(&Fault::NoIdentity))),
    }
}

/// What is not written down is lost with a restart, and does the work until then.
fn state(noted: &Noted) -> Part {
    match noted.not_saved.clone() {
        None => Part::good("state"),
        Some(failure) => Part::with_reason("state", State::Warning, failure.code, failure.text),
    }
}

fn failed(name: &str, failure: Failure) -> Part {
    Part::with_reason(name, State::Failed, failure.code, failure.text)
}

impl Watched for Readiness {
    /// The tasks come round, and the one that never waits for anybody answers at once.
    async fn live(&self) -> Report {
        let (task, after) = self.condition.read().slowest();
        let stuck = (after > TURN).then_some(Fault::TaskStuck { task, after });
        let answered = timeout(SOON, self.issue.ping());
        let threads = answered.await.is_err().then_some(Fault::ThreadsStuck);
        Report::new(vec![
            Part::of("tasks", stuck.as_ref()),
            Part::of("threads", threads.as_ref()),
        ])
    }

    async fn ready(&self) -> Report {
        self.last.now(self.look()).await
    }

    async fn metrics(&self) -> String {
        let report = self.last.lately(self.look()).await;
        let (noted, snapshot) = (self.condition.read(), self.cache.snapshot());
        let refused = self.last_reload.part().is_some();
        self.metrics.reload_failed.set(i64::from(refused));
        self.metrics.text(report, &noted, &snapshot, &self.usage)
    }
}

#[cfg(test)]
mod tests;
