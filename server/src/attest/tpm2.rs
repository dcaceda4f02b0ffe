//! Attestation type `tpm2`: claim, challenge, proof, verdict, SVID.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hallmark_api::{agent::attest_agent_response, attest};
use hallmark_authority::SubjectKey;
use hallmark_policy::Appraisal;
use hallmark_registry::{agent_id, authorise_node};
use hallmark_tpm_wire::Name;
use hallmark_verify::{Challenge, Examined, HeldLogs, KnownTpm, RefusalClass, bind, conclude, ek_sha256, examine};
use prost::Message as _;
use tonic::Status;
use zeroize::Zeroizing;

use super::{
    Facts, NodeClass, Refusal, logs,
    stream::Dialogue,
    verdict::{self, Subject},
};
use crate::{
    connection::TlsInfo,
    convert,
    issue::{IssueError, IssuedSvid, Order, OrderKey, issue},
    lifecycle,
    state::Server,
};

/// The type's name on the wire.
pub(super) const TYPE: &str = "tpm2";

/// Attests a node by its TPM. Whatever the verdict, it is recorded before the node hears of it.
///
/// # Errors
/// The node's share of the refusal.
pub(super) async fn attest(
    server: &Arc<Server>,
    connection: &TlsInfo,
    dialogue: &mut Dialogue,
    payload: Bytes,
    csr: Bytes,
) -> Result<(), Status> {
    let mut subject = Subject::unknown(connection.remote);
    let svid = match judge(server, connection, dialogue, payload, csr, &mut subject).await {
        Ok(svid) => svid,
        Err(Ended::HungUp(status)) => return Err(status),
        Err(Ended::Refused(refusal)) => {
            verdict::record_refused(server, &subject, &refusal).await;
            return Err(refusal.status());
        }
    };
    let result = attest_agent_response::Result {
        svid: Some(convert::svid_message(svid)),
        reattestable: true,
    };
    dialogue.finish(result).await
}

/// Why an attestation did not come to its end.
pub(super) enum Ended {
    /// By a verdict.
    Refused(Refusal),
    /// By the node: there is nothing to judge.
    HungUp(Status),
}

impl Ended {
    /// A node that is silent is refused; one that hung up is gone.
    pub(super) fn by_node(status: Status) -> Self {
        match status.code() {
            tonic::Code::DeadlineExceeded => Self::Refused(Refusal::bare(NodeClass::Silent)),
            _ => Self::HungUp(status),
        }
    }
}

impl<E: Into<Refusal>> From<E> for Ended {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into())
    }
}

async fn judge(
    server: &Arc<Server>,
    connection: &TlsInfo,
    dialogue: &mut Dialogue,
    payload: Bytes,
    csr: Bytes,
    subject: &mut Subject,
) -> Result<IssuedSvid, Ended> {
    let exporter = connection
        .exporter
        .clone()
        .ok_or_else(|| Refusal::bare(NodeClass::NotBindable))?;
    let (examined, challenge) = open(server, payload, csr, subject).await?;
    let question = convert::challenge_message(&challenge).encode_to_vec().into();
    let answer = dialogue.challenge(question).await.map_err(Ended::by_node)?;
    let now = server.clock.now();
    let bound = server.compute.run(move || {
        let proof = convert::proof(&decode::<attest::Tpm2Proof>(&answer)?)?;
        Ok::<_, Refusal>(bind(examined, challenge, proof, &exporter, now)?)
    });
    let bound = bound.await.map_err(|_| Refusal::bare(NodeClass::Unable))??;
    // The sender is the TPM's machine: now it may send as much as it announced.
    let logs = logs::read(dialogue, &server.attestation.log_room, bound.logs()).await?;
    let (policies, now) = (Arc::clone(&server.attestation.policies), server.clock.now());
    let inventory = server.lifecycle.inventory();
    let judged = server.compute.run(move || {
        let evidence = conclude(bound, logs.logs, &HeldLogs::default())?;
        drop(logs.room);
        Ok::<_, Refusal>({
            let labels = inventory.labels(&evidence, now);
            hallmark_policy::appraise(evidence, labels, &policies, now)
        })
    });
    let appraisal = judged.await.map_err(|_| Refusal::bare(NodeClass::Unable))??;
    admit(server, connection.remote, &appraisal, subject)
        .await
        .map_err(Ended::Refused)
}

/// The first half: the claim is examined and a challenge made for it.
async fn open(
    server: &Arc<Server>,
    payload: Bytes,
    csr: Bytes,
    subject: &mut Subject,
) -> Result<(Examined, Challenge), Refusal> {
    let claim = convert::claim(&decode::<attest::Tpm2Claim>(&payload)?, &csr)?;
    let ek = ek_sha256(&claim)?;
    let id = agent_id(&server.trust_domain, &ek).map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
    subject.is(&id);
    let row = server.agents.find(&id);
    lifecycle::barred(row.as_deref())?;
    // One that still waits is not enrolled: it gets no leave that enrolled ones have.
    let known = row.filter(|row| row.state.is_served()).map(|row| KnownTpm {
        ek_sha256: ek,
        ak_name: Name::parse(&row.ak_name).ok(),
    });
    let (trust, pcrs) = (server.lifecycle.trust(), server.attestation.pcrs.clone());
    let (nonce, secret) = (random()?, Zeroizing::new(random()?));
    let now = server.clock.now();
    let work = move || {
        let examined = examine(claim, &trust, known.as_ref(), now)?;
        // An AK that this EK activated before has nothing to show by doing it again.
        let secret = (!examined.ak_is_known()).then_some(secret);
        let challenge = examined
            .challenge_with(nonce, secret, pcrs, now)
            .map_err(hallmark_verify::VerifyError::from)?;
        Ok((examined, challenge))
    };
    server
        .compute
        .run(work)
        .await
        .map_err(|_| Refusal::bare(NodeClass::Unable))?
}

/// The second half: a trusted node gets its SVID, and its row.
async fn admit(
    server: &Arc<Server>,
    remote: SocketAddr,
    appraisal: &Appraisal,
    subject: &Subject,
) -> Result<IssuedSvid, Refusal> {
    if let Some(reason) = appraisal.refusal() {
        return Err(Refusal {
            class: NodeClass::NotAllowed,
            code: reason.code,
            text: reason.text.clone(),
            compared: reason.compared.clone(),
        });
    }
    lifecycle::let_in(server, appraisal).await?;
    let unable = |error: &dyn hallmark_reason::Coded| Refusal::of(NodeClass::Unable, error);
    let grant =
        authorise_node(appraisal, &server.trust_domain, server.lifetimes.agent).map_err(|error| unable(&error))?;
    let key = SubjectKey::from_spki(appraisal.evidence().svid_spki()).map_err(|error| unable(&error))?;
    let id = grant.spiffe_id().clone();
    let order = Order {
        grant,
        key: OrderKey::Proven(key),
        entry: "".into(),
    };
    let svid = issue(server, id.as_str(), vec![order])
        .await
        .pop()
        .unwrap_or(Err(IssueError::Interrupted));
    let svid = svid.map_err(|error| unable(&error))?;
    let facts = Facts {
        svid_serial: svid.serial.to_string(),
        svid_not_after: svid.expires_at,
        authority_key_label: server.authority.load().label.clone(),
        ..Facts::of(appraisal)
    };
    verdict::record_accepted(server, subject, &id, appraisal, &svid, &facts).await?;
    tracing::info!(%id, %remote, serial = %svid.serial, expires_at = svid.expires_at, class = %facts.class, "node attested");
    Ok(svid)
}

pub(super) fn decode<M: prost::Message + Default>(bytes: &Bytes) -> Result<M, Refusal> {
    M::decode(bytes.clone()).map_err(|error| Refusal {
        text: format!("the payload is no protobuf message of its type: {error}"),
        ..Refusal::bare(NodeClass::Evidence(RefusalClass::Malformed))
    })
}

fn random() -> Result<[u8; 32], Refusal> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Refusal::bare(NodeClass::Unable))?;
    Ok(bytes)
}
