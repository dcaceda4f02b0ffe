//! What this machine asks hallmark-server and tells it.

use std::{pin::pin, time::Duration};

use hallmark_api::provision::{
    Assignment, GetAssignmentRequest, GetAssignmentResponse, ReportStepRequest, Stage, Step,
    provisioning_client::ProvisioningClient,
};
use hallmark_host::printable;
use hallmark_reason::{Coded, Report};
use hallmark_tpm::{TpmError, TpmHandle};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Response, Status, transport::Channel};

use super::{console::tell, error::ProvisionError};
use crate::{
    AgentError,
    agent::Attestation,
    config::Config,
    connect::CALL,
    jitter::{Backoff, Jitter},
    server_client::ServerClient,
    state::StateFile,
    status::classify,
};

/// How often the server is asked for an assignment while there is none.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How soon it is asked again after an attempt.
const AFTER_ATTEMPT: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How soon the console says the same again.
const SAY_AGAIN: Duration = Duration::from_secs(300);
/// How often progress is reported at most.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long a report that says why an attempt failed is tried.
const FAILED_LIMIT: Duration = Duration::from_secs(120);
/// Most octets of a reason that is reported.
const MAX_REASON: usize = 1000;

/// What this machine is to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Write the image.
    Install(Assignment),
    /// Start from the disk that was written before.
    StartFromDisk(Assignment),
}

/// Whoever speaks to the server as this machine.
pub(super) trait Session {
    /// A client; who has none that is still good makes one.
    async fn client(&mut self) -> Result<ProvisioningClient<Channel>, AgentError>;

    /// The server did not take the client.
    fn forget(&mut self);

    /// What operators name this machine by.
    fn node(&self) -> String;
}

/// This machine with the SVID of its own attestation, as the running agent has one.
pub(super) struct AttestedNode {
    attestation: Attestation,
    client: Option<ServerClient>,
    node: String,
}

impl AttestedNode {
    pub(super) fn new(config: Config, tpm: TpmHandle, state: StateFile) -> Self {
        Self {
            attestation: Attestation::alone(config, tpm, state),
            client: None,
            node: "NODE".into(),
        }
    }
}

impl Session for AttestedNode {
    async fn client(&mut self) -> Result<ProvisioningClient<Channel>, AgentError> {
        let current = self.client.take().filter(|_| !self.attestation.is_due());
        let client = match current {
            Some(client) => client,
            None => self.attestation.client().await?,
        };
        if let Some(id) = self.attestation.id() {
            self.node = id.to_string();
        }
        Ok(self.client.insert(client).provisioning())
    }

    fn forget(&mut self) {
        self.client = None;
    }

    fn node(&self) -> String {
        self.node.clone()
    }
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) attempt: u64,
    pub(super) manifest_sha256: [u8; 32],
    pub(super) step: Step,
    pub(super) done: usize,
    pub(super) of: usize,
}

impl Progress {
    fn message(self) -> ReportStepRequest {
        ReportStepRequest {
            attempt: self.attempt,
            manifest_sha256: self.manifest_sha256.to_vec().into(),
            step: self.step.into(),
            chunks_done: u64::try_from(self.done).unwrap_or(u64::MAX),
            chunks: u64::try_from(self.of).unwrap_or(u64::MAX),
            ..ReportStepRequest::default()
        }
    }
}

/// The server.
pub(super) struct Server<S> {
    session: S,
    ask_every: Duration,
    backoff: Backoff,
    told: Option<(String, Instant)>,
    reported: Instant,
}

impl<S: Session> Server<S> {
    pub(super) fn new(session: S) -> Self {
        Self::asked_every(ASK_EVERY, session)
    }

    /// The same, asked as often as this what is assigned.
    pub(super) fn asked_every(ask_every: Duration, session: S) -> Self {
        Self {
            session,
            ask_every,
            backoff: Backoff::new(Duration::from_secs(2), LONGEST_PAUSE),
            told: None,
            reported: Instant::now(),
        }
    }

    /// What is assigned to this machine, as soon as it may ask and something is. Whatever stands in the way is on the console.
    pub(super) async fn await_task(&mut self) -> Task {
        loop {
            match self.assignment().await {
                Ok(answer) => {
                    self.backoff.reset();
                    let (stage, node) = (answer.stage(), self.session.node());
                    if let Some(assignment) = answer.assignment {
                        self.told = None;
                        return match stage {
                            Stage::Installed => Task::StartFromDisk(assignment),
                            _ => Task::Install(assignment),
                        };
                    }
                    self.tell_once(match stage {
                        Stage::Failed => format!(
                            "the installation of this machine failed, and it waits for another attempt; on the server: \
                             hallmark provision show {node} says why; then hallmark provision retry {node}"
                        ),
                        _ => format!(
                            "nothing is assigned to this machine, which waits; on the server: hallmark provision list; \
                             hallmark provision assign {node} --manifest FILE --url URL --baseline NAME"
                        ),
                    });
                    sleep(Jitter::around(self.ask_every)).await;
                }
                Err(error) => {
                    self.tell_once(format!("{}\n  this machine tries again by itself", Report(&error)));
                    sleep(self.backoff.pause()).await;
                }
            }
        }
    }

    /// Waits for as long as the server is to be left alone after an attempt that failed.
    pub(super) async fn pause(&mut self) {
        sleep(Jitter::around(AFTER_ATTEMPT)).await;
    }

    /// Does work that waits for others, and asks meanwhile whether it is still wanted. The work writes nothing: it is given up.
    ///
    /// # Errors
    /// Those of the work; or something else is assigned to this machine by now, or nothing.
    pub(super) async fn while_assigned<T>(
        &mut self,
        assignment: &Assignment,
        work: impl Future<Output = Result<T, ProvisionError>>,
    ) -> Result<T, ProvisionError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(Jitter::around(self.ask_every)) => {}
            }
            let asked = async {
                let mut asked = pin!(self.assignment());
                tokio::select! {
                    // An attestation on the way is not broken off.
                    done = &mut work => (Some(done), asked.await),
                    answer = &mut asked => (None, answer),
                }
            };
            match asked.await {
                (Some(done), _) => return done,
                (None, Ok(answer)) => require_same(assignment, &answer)?,
                // Whether the machine may write is asked again before it does.
                (None, Err(error)) => {
                    self.tell_once(format!("{}\n  the installation goes on meanwhile", Report(&error)));
                }
            }
        }
    }

    async fn assignment(&mut self) -> Result<GetAssignmentResponse, AgentError> {
        const CALLED: &str = "GetAssignment";
        let mut client = self.session.client().await?;
        let answer = within(CALLED, client.get_assignment(GetAssignmentRequest {})).await?;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(CALLED, &status)),
        }
    }

    /// Reports a step, for as long as it takes to reach the server.
    ///
    /// # Errors
    /// The server does not take it: the attempt is no longer the one that it waits for.
    pub(super) async fn report(&mut self, progress: Progress) -> Result<(), ProvisionError> {
        self.tell_server(progress.message()).await
    }

    /// Reports that this machine came back and goes to its disk.
    ///
    /// # Errors
    /// As [`Self::report`]; or it came back too often.
    pub(super) async fn report_return(&mut self, assignment: &Assignment) -> Result<(), ProvisionError> {
        let message = ReportStepRequest {
            attempt: assignment.attempt,
            manifest_sha256: assignment.manifest_sha256.clone(),
            step: Step::Returned.into(),
            ..ReportStepRequest::default()
        };
        self.tell_server(message).await
    }

    async fn tell_server(&mut self, message: ReportStepRequest) -> Result<(), ProvisionError> {
        loop {
            match self.send(message.clone()).await {
                Err(ProvisionError::Agent(error)) => {
                    self.tell_once(format!("{}\n  this machine tries again by itself", Report(&error)));
                    sleep(self.backoff.pause()).await;
                }
                answered => {
                    self.backoff.reset();
                    return answered;
                }
            }
        }
    }

    /// Reports progress now and then, without waiting for a server that is away.
    ///
    /// # Errors
    /// As [`Self::report`].
    pub(super) async fn report_soon(&mut self, progress: Progress) -> Result<(), ProvisionError> {
        if self.reported.elapsed() < REPORT_EVERY {
            return Ok(());
        }
        self.reported = Instant::now();
        match self.send(progress.message()).await {
            Err(ProvisionError::Agent(error @ (AgentError::Unreachable { .. } | AgentError::Call { .. }))) => {
                self.tell_once(format!("{}\n  the disk is written all the same", Report(&error)));
                Ok(())
            }
            // A machine that is not in service writes nothing more until it is.
            Err(ProvisionError::Agent(_)) => self.report(progress).await,
            answered => answered,
        }
    }

    /// Reports why an attempt failed. Where that does not reach the server, the same attempt is made again.
    pub(super) async fn report_failed(&mut self, assignment: &Assignment, error: &ProvisionError) {
        let compared = error.compared().map(|compared| format!(" ({compared})"));
        let reason = format!("{error}{}", compared.unwrap_or_default());
        let message = ReportStepRequest {
            attempt: assignment.attempt,
            manifest_sha256: assignment.manifest_sha256.clone(),
            step: Step::Failed.into(),
            code: error.code().as_str().into(),
            reason: cut(printable(&reason)),
            ..ReportStepRequest::default()
        };
        let sent = timeout(FAILED_LIMIT, async {
            while let Err(ProvisionError::Agent(error)) = self.send(message.clone()).await {
                self.tell_once(Report(&error).to_string());
                sleep(self.backoff.pause()).await;
            }
        });
        if sent.await.is_ok() {
            self.backoff.reset();
            let node = self.session.node();
            tell(format_args!(
                "this machine waits for another attempt; on the server: hallmark provision retry {node}"
            ));
        }
    }

    async fn send(&mut self, message: ReportStepRequest) -> Result<(), ProvisionError> {
        const CALLED: &str = "ReportStep";
        let mut client = self.session.client().await?;
        match within(CALLED, client.report_step(message)).await? {
            Ok(_) => Ok(()),
            Err(status)
                if matches!(
                    status.code(),
                    Code::FailedPrecondition | Code::NotFound | Code::InvalidArgument
                ) =>
            {
                let message = status.message().to_owned();
                Err(ProvisionError::Superseded { message })
            }
            Err(status) => Err(self.failed(CALLED, &status).into()),
        }
    }

    fn failed(&mut self, call: &'static str, status: &Status) -> AgentError {
        let error = classify(call, status);
        if matches!(
            error,
            AgentError::NotAccepted { .. }
                | AgentError::Untrusted { .. }
                | AgentError::Tpm(TpmError::KeyChanged { .. })
        ) {
            self.session.forget();
        }
        error
    }

    fn tell_once(&mut self, words: String) {
        let is_old = |(told, at): &(String, Instant)| *told == words && at.elapsed() < SAY_AGAIN;
        if !self.told.as_ref().is_some_and(is_old) {
            tell(&words);
            self.told = Some((words, Instant::now()));
        }
    }
}

fn require_same(assignment: &Assignment, answer: &GetAssignmentResponse) -> Result<(), ProvisionError> {
    let message = match &answer.assignment {
        Some(found) if found.attempt == assignment.attempt => return Ok(()),
        Some(found) => format!("attempt {} is under way, not {}", found.attempt, assignment.attempt),
        None => "nothing is assigned to this machine".to_owned(),
    };
    Err(ProvisionError::Superseded { message })
}

/// A reason as long as the server takes it.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

type Answer<T> = Result<Response<T>, Status>;

async fn within<T>(call: &'static str, answer: impl Future<Output = Answer<T>>) -> Result<Answer<T>, AgentError> {
    timeout(CALL, answer).await.map_err(|_| AgentError::Call {
        call,
        detail: "no answer in time".into(),
    })
}
