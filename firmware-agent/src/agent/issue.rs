//! The issue task: it has the workloads' entries and SVIDs, and gets those that are due. It never waits for the server:
//! calls run beside it, and whoever asks it something is answered at once.

mod batch;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hallmark_host::log;
use hallmark_spiffe::Bundle;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::interval,
};

use super::{channel::Connection, jwt::JwtSvids, report::ReportHandle};
use crate::{
    AgentError,
    cache::WorkloadEntry,
    condition::{Condition, Task},
    jitter::Backoff,
    server_client::{Listing, Versions},
    workloads::{Issued, Workloads},
};
use batch::issue_batch;

/// The most SVIDs that one call asks for.
const BATCH: usize = 500;
/// The most calls at a time: one that the server does not answer holds up no other.
const MOST_CALLS: usize = 4;
/// How often is looked for what has expired or is to be renewed.
const TICK: Duration = Duration::from_secs(1);
/// Pauses after a call that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How many questions may wait; each is answered in no time.
const QUEUE: usize = 64;

/// What is asked of the task.
#[derive(Debug)]
enum Message {
    Versions(oneshot::Sender<Versions>),
    Apply(Box<Listing>, oneshot::Sender<()>),
    Bundle(Bundle, Vec<Vec<u8>>),
    Want(Vec<Arc<str>>),
    Wipe(oneshot::Sender<()>),
    Ping(oneshot::Sender<()>),
}

/// Asks the issue task. Where it has ended, nothing is known and nothing happens: the agent ends then.
#[derive(Debug, Clone)]
pub(crate) struct IssueHandle(mpsc::Sender<Message>);

impl IssueHandle {
    /// A handle of no task.
    pub(super) fn none() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// The version of each entry that is held.
    pub(super) async fn versions(&self) -> Versions {
        self.ask(Message::Versions).await.unwrap_or_default()
    }

    /// Takes over which entries there are; returns when they are served.
    pub(super) async fn apply(&self, listing: Listing) {
        let told = Box::new(listing);
        self.ask(|done| Message::Apply(told, done)).await;
    }

    /// Takes over a bundle, and which of its authorities are tainted.
    pub(super) async fn set_bundle(&self, bundle: Bundle, tainted: Vec<Vec<u8>>) {
        let _ = self.0.send(Message::Bundle(bundle, tainted)).await;
    }

    /// Has the SVIDs of these entries issued.
    pub(super) async fn want(&self, entries: Vec<Arc<str>>) {
        let _ = self.0.send(Message::Want(entries)).await;
    }

    /// Drops everything; returns when nothing is served any more.
    pub(super) async fn wipe(&self) {
        self.ask(Message::Wipe).await;
    }

    /// Returns as soon as the task comes to it.
    pub(crate) async fn ping(&self) {
        self.ask(Message::Ping).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(message(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// One call that has ended: what it asked for, with which SVID of the agent's, and what came of it.
struct Called {
    asked: Vec<Arc<WorkloadEntry>>,
    serial: Arc<str>,
    answer: Result<Vec<Issued>, AgentError>,
}

/// The task.
pub(super) struct IssueTask {
    workloads: Workloads,
    messages: mpsc::Receiver<Message>,
    connections: watch::Receiver<Option<Connection>>,
    jwt: JwtSvids,
    reports: ReportHandle,
    condition: Arc<Condition>,
    calls: JoinSet<Called>,
    backoff: Backoff,
    /// Whether the server has told the entries.
    is_told: bool,
}

impl IssueTask {
    /// A task that asks over the newest of `connections`, and a handle to it.
    pub(super) fn new(
        workloads: Workloads,
        connections: watch::Receiver<Option<Connection>>,
        jwt: JwtSvids,
        reports: ReportHandle,
        condition: Arc<Condition>,
    ) -> (IssueHandle, Self) {
        let (sender, messages) = mpsc::channel(QUEUE);
        let task = Self {
            workloads,
            messages,
            connections,
            jwt,
            reports,
            condition,
            calls: JoinSet::new(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            is_told: false,
        };
        (IssueHandle(sender), task)
    }

    /// Works until it is ended, or a call panics.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(TICK);
        loop {
            self.condition.beat(Task::Issue);
            let is_news = tokio::select! {
                Some(message) = self.messages.recv() => self.answer(message),
                Some(called) = self.calls.join_next() => {
                    match called {
                        Ok(called) => self.take(called),
                        Err(error) if error.is_cancelled() => {}
                        // A fault of this program ends the task, and the agent with it.
                        Err(_) => return,
                    }
                    true
                }
                Ok(()) = self.connections.changed() => true,
                _ = ticks.tick() => {
                    self.workloads.expire(SystemTime::now());
                    true
                }
            };
            if is_news {
                self.call();
                self.note();
            }
        }
    }

    /// Answers one question; says whether something may be due now.
    fn answer(&mut self, message: Message) -> bool {
        // Whoever asked may have gone.
        match message {
            Message::Versions(reply) => {
                let _ = reply.send(self.workloads.versions());
                false
            }
            Message::Apply(listing, done) => {
                self.workloads.apply(*listing);
                self.withdraw_tokens();
                self.is_told = true;
                let _ = done.send(());
                true
            }
            Message::Bundle(bundle, tainted) => {
                self.workloads.set_bundle(bundle, tainted, SystemTime::now());
                self.withdraw_tokens();
                true
            }
            Message::Want(entries) => self.workloads.want(&entries),
            Message::Wipe(done) => {
                self.calls.abort_all();
                self.workloads.wipe();
                self.withdraw_tokens();
                let _ = done.send(());
                false
            }
            Message::Ping(reply) => {
                let _ = reply.send(());
                false
            }
        }
    }

    /// Drops the JWT-SVIDs that what is served now no longer grants.
    fn withdraw_tokens(&self) {
        self.jwt.retain(&self.workloads.snapshot());
    }

    /// Asks for what is due, as far as calls are free.
    fn call(&mut self) {
        let Some(connection) = self.connections.borrow_and_update().clone() else {
            return;
        };
        while self.calls.len() < MOST_CALLS {
            let asked = self.workloads.take_due(SystemTime::now(), Instant::now(), BATCH);
            if asked.is_empty() {
                return;
            }
            let (client, serial) = (connection.client.clone(), Arc::clone(&connection.serial));
            let bundle = self.workloads.bundle().clone();
            self.calls.spawn(async move {
                let answer = issue_batch(asked.clone(), &client, bundle).await;
                Called { asked, serial, answer }
            });
        }
    }

    fn take(&mut self, called: Called) {
        match called.answer {
            Ok(issued) => {
                let count = issued.iter().filter(|(_, material)| material.is_some()).count();
                self.workloads.install(issued, SystemTime::now(), Instant::now());
                self.backoff.reset();
                self.condition.issued();
                if count > 0 {
                    tracing::info!(issued = count, "workload SVIDs issued");
                }
            }
            Err(error) => {
                if !self.reports.unusable(&called.serial, &error) {
                    log::error(&error);
                }
                self.condition.not_issued(&error);
                let now = SystemTime::now();
                let ends = called
                    .asked
                    .iter()
                    .filter_map(|asked| Some(asked.x509.as_ref()?.not_after));
                let left = ends.filter_map(|end| end.duration_since(now).ok()).min();
                let pause = self.backoff.pause_with(left);
                self.workloads.put_off(&called.asked, pause, now, Instant::now());
            }
        }
    }

    fn note(&mut self) {
        self.condition.unissued(self.workloads.missing());
        if self.is_told && self.workloads.is_complete() {
            self.workloads.set_ready();
        }
    }
}
