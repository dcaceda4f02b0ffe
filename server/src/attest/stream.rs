//! The `AttestAgent` stream: one task per stream, a deadline for every step.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use hallmark_api::agent::{AttestAgentRequest, AttestAgentResponse, attest_agent_request, attest_agent_response};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Attestor, NodeClass, Refusal, tpm2};
use crate::{
    connection::TlsInfo,
    limits::{Limits, Network, Occupant, Permit},
};

/// The first message has to be here, whole, within this time: a machine has it at hand when it opens the stream.
const FIRST_STEP: Duration = Duration::from_secs(2);
/// How long an answer may wait to be read.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a challenge may be answered.
const CHALLENGE: Duration = hallmark_verify::CHALLENGE_LIFETIME;

/// What the node receives.
pub type AnswerStream = Pin<Box<dyn Stream<Item = Result<AttestAgentResponse, Status>> + Send>>;

/// Attests a node over `request`'s stream. The work is done in a task of its own: one that has begun is finished
/// and recorded, whether or not the node still listens.
///
/// # Errors
/// `ResourceExhausted` when the address attests too often.
pub async fn attest_agent(
    attestor: Arc<Attestor>,
    request: Request<Streaming<AttestAgentRequest>>,
) -> Result<Response<AnswerStream>, Status> {
    let connection = request.extensions().get::<TlsInfo>().cloned();
    let Some(connection) = connection else {
        return Err(Refusal::bare(NodeClass::NotBindable).status());
    };
    let address = connection.remote.ip();
    let origin = attestor.limits.origin(address);
    let Some(place) = attestor.limits.streams.admit(origin) else {
        return Err(too_many());
    };
    attestor.limits.attest.take(Some(address), 1).await?;
    let (sender, answers) = mpsc::channel(1);
    let mut dialogue = Dialogue {
        messages: request.into_inner(),
        answers: sender,
        limits: Arc::clone(&attestor.limits),
        origin,
        place,
        permit: None,
    };
    tokio::spawn(async move {
        if let Err(status) = attest(&attestor, &connection, &mut dialogue).await {
            dialogue.refuse(status).await;
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

fn too_many() -> Status {
    Status::resource_exhausted("too many attestations are open; try again later")
}

async fn attest(attestor: &Attestor, connection: &TlsInfo, dialogue: &mut Dialogue) -> Result<(), Status> {
    let first = match dialogue.next(FIRST_STEP).await? {
        attest_agent_request::Step::Params(params) => params,
        attest_agent_request::Step::ChallengeResponse(_) => {
            return Err(Status::invalid_argument("malformed param: missing params"));
        }
    };
    let data = first
        .data
        .ok_or_else(|| Status::invalid_argument("malformed param: missing attestation data"))?;
    let csr = first
        .params
        .ok_or_else(|| Status::invalid_argument("malformed param: missing X509-SVID parameters"))?
        .csr;
    match data.r#type.as_str() {
        tpm2::TYPE => tpm2::attest(attestor, connection, dialogue, data.payload, csr).await,
        _ => Err(Refusal::bare(NodeClass::UnknownType).status()),
    }
}

/// The two directions of one stream. It has a permit among the attestations that are worked on except while it waits for
/// the node, and is ended while it waits where its place is needed for one of whom less is open: else a few strangers who
/// say little or nothing would keep every machine out.
pub(super) struct Dialogue {
    messages: Streaming<AttestAgentRequest>,
    answers: mpsc::Sender<Result<AttestAgentResponse, Status>>,
    limits: Arc<Limits>,
    origin: (Network, bool),
    place: Occupant,
    permit: Option<Permit>,
}

impl Dialogue {
    async fn next(&mut self, within: Duration) -> Result<attest_agent_request::Step, Status> {
        self.permit = None;
        let taken_away = self.place.taken_away();
        let message = tokio::select! {
            message = timeout(within, self.messages.message()) => message,
            () = taken_away => return Err(too_many()),
        };
        let step = match message {
            Ok(Ok(Some(message))) => message
                .step
                .ok_or_else(|| Status::invalid_argument("malformed param: empty message")),
            Ok(Ok(None)) => Err(Status::cancelled("the node ended the attestation")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Refusal::bare(NodeClass::Silent).status()),
        }?;
        let attestations = self.limits.attestations.load_full();
        self.permit = Some(attestations.take(self.origin).await?);
        Ok(step)
    }

    /// Sends a challenge and waits for its answer.
    ///
    /// # Errors
    /// When the node hangs up, is silent, or sends something else.
    pub(super) async fn challenge(&mut self, challenge: Bytes) -> Result<Bytes, Status> {
        self.send(attest_agent_response::Step::Challenge(challenge)).await?;
        match self.next(CHALLENGE).await? {
            attest_agent_request::Step::ChallengeResponse(answer) => Ok(answer),
            attest_agent_request::Step::Params(_) => {
                Err(Status::invalid_argument("malformed param: missing challenge response"))
            }
        }
    }

    /// Waits for what follows an answer.
    ///
    /// # Errors
    /// When the node hangs up, is silent for `within`, or sends something else.
    pub(super) async fn part(&mut self, within: Duration) -> Result<Bytes, Status> {
        match self.next(within).await? {
            attest_agent_request::Step::ChallengeResponse(part) => Ok(part),
            attest_agent_request::Step::Params(_) => Err(Status::invalid_argument("malformed param: missing log part")),
        }
    }

    /// Sends the result.
    ///
    /// # Errors
    /// When the node has hung up.
    pub(super) async fn finish(&mut self, result: attest_agent_response::Result) -> Result<(), Status> {
        self.send(attest_agent_response::Step::Result(result)).await
    }

    /// There is work no longer: a node that does not read what it is told holds nothing up.
    async fn send(&mut self, step: attest_agent_response::Step) -> Result<(), Status> {
        self.permit = None;
        let gone = || Status::cancelled("the node has hung up, or does not read");
        let answer = self.answers.send(Ok(AttestAgentResponse { step: Some(step) }));
        match timeout(ANSWER, answer).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }

    async fn refuse(&mut self, status: Status) {
        self.permit = None;
        // A node that has hung up learns nothing, and that is well.
        drop(timeout(ANSWER, self.answers.send(Err(status))).await);
    }
}
