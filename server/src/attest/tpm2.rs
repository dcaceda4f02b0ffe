//! Attestation type `tpm2`: claim, challenge, proof, verdict, SVID.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use hallmark_api::{agent::attest_agent_response, attest};
use hallmark_authority::SubjectKey;
use hallmark_evidence::{Claim, EkCertificateChain};
use hallmark_node::NodeId;
use hallmark_policy::{Appraisal, Listed, appraise_following};
use hallmark_spiffe::{SpiffeId, x509::SerialHex};
use hallmark_state::{
    AttestationState, AttestedFacts, Node, authorise_node,
    decide::{self, Basis},
};
use hallmark_tpm_wire::Name;
use hallmark_verify::{
    Challenge, EkCertificateError, KnownTpm, RefusalClass, VerifiedClaim, VerifiedProof, VerifyError, ek_sha256,
    history::AgentRunId, revoked_certificate, verify_claim, verify_logs, verify_proof,
};
use prost::Message as _;
use tonic::Status;
use zeroize::Zeroizing;

use super::{
    Attestor, NodeClass, Refusal, admission,
    evidence_update::{self, EvidenceUpdate},
    logs::{self, LogPermit, Logs},
    stream::Dialogue,
    verdict::{self, Subject},
};
use crate::{
    clock,
    connection::TlsInfo,
    convert,
    issue::{IssueError, IssuedSvid, Order, OrderKey},
    journal::{Journal, UnreadableCertificate},
    limits::Network,
    metrics::Stage,
};

/// The type's name on the wire.
pub(super) const TYPE: &str = "tpm2";

/// Certificates between an EK and its root that are soon verified; makers use one or two.
const SHORT_CHAIN: usize = 2;
/// Bytes of logs that are soon judged: one boot's.
pub(super) const SHORT_LOGS: usize = 64 * 1024;
/// And of an IMA list, whose lines may each have a signature to try.
const SHORT_LIST: usize = 8 * 1024;

/// Attests a node by its TPM. Whatever the verdict, it is recorded before the node hears of it.
///
/// # Errors
/// The node's share of the refusal.
pub(super) async fn attest(
    attestor: &Attestor,
    connection: &TlsInfo,
    dialogue: &mut Dialogue,
    payload: Bytes,
    csr: Bytes,
) -> Result<(), Status> {
    let mut subject = Subject::unknown(connection.remote);
    let svid = match judge(attestor, connection, dialogue, payload, csr, &mut subject).await {
        Ok(svid) => svid,
        Err(Ended::HungUp(status)) => return Err(status),
        Err(Ended::Refused(refusal, proven)) => {
            if refusal.class.is_of_the_machine() {
                attestor.limits.known.remove(Network::of(connection.remote.ip()));
            }
            verdict::record_refused(attestor, &subject, &refusal, proven).await;
            if let Some((ek, is_revoked)) = subject.news() {
                attestor.appraiser.follow_certificate(ek, is_revoked);
            }
            return Err(refusal.status());
        }
    };
    attestor
        .limits
        .known
        .insert(Network::of(connection.remote.ip()), Instant::now());
    let result = attest_agent_response::Result {
        svid: Some(svid.into_message()),
        reattestable: true,
    };
    dialogue.finish(result).await
}

/// Why an attestation did not come to its end.
pub(super) enum Ended {
    /// By a verdict; with it what was proven all the same, of a machine that the rules do not let in.
    Refused(Refusal, Option<Box<Judged>>),
    /// By the node: there is nothing to judge.
    HungUp(Status),
}

impl Ended {
    /// A node that is silent is refused; one that hung up is gone.
    pub(super) fn by_node(status: Status) -> Self {
        match status.code() {
            tonic::Code::DeadlineExceeded => Self::Refused(Refusal::bare(NodeClass::Silent), None),
            _ => Self::HungUp(status),
        }
    }
}

impl<E: Into<Refusal>> From<E> for Ended {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into(), None)
    }
}

async fn judge(
    attestor: &Attestor,
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
    let mut stages = attestor.metrics.stages();
    let Opened {
        node,
        verified_claim,
        challenge,
        held,
        logs_from,
        run,
        is_damaged,
    } = open(attestor, payload, csr, subject).await?;
    stages.ended(Stage::Claim);
    let certificate = verified_claim.new_certificate().cloned();
    let question = convert::challenge_message(&challenge, logs_from.as_deref());
    let question = question.encode_to_vec().into();
    let answer = dialogue.challenge(question).await.map_err(Ended::by_node)?;
    stages.ended(Stage::Answer);
    let proof = convert::proof(&decode::<attest::Tpm2Proof>(&answer)?)?;
    let now = attestor.journal.clock().now();
    let verified_proof = verify_proof(verified_claim, challenge, proof, &exporter, now)?;
    // It is this TPM's. Whatever the verdict will be, the machine is judged by it from now on.
    subject.has(certificate);
    if is_damaged {
        verdict::replace_certificate(attestor, subject).await?;
    }
    admission::prove_names(&attestor.journal, &verified_proof).await?;
    if let Some(held) = &held {
        verified_proof
            .require_follows(&held.runs, run, now)
            .map_err(VerifyError::from)?;
    }
    stages.ended(Stage::Proof);
    // The sender is the TPM's machine: now it may send as much as it announced.
    let logs = logs::read(dialogue, &attestor.log_budget, &node, verified_proof.logs()).await?;
    stages.ended(Stage::Logs);
    let prior = Prior { held, logs_from, run };
    let judged = appraise(attestor, node, verified_proof, logs, prior).await?;
    stages.ended(Stage::Appraisal);
    if let Some(refusal) = refusal(&judged.appraisal) {
        return Err(Ended::Refused(refusal, Some(Box::new(judged))));
    }
    let svid = admit(attestor, connection.remote, judged, subject).await?;
    stages.ended(Stage::Issue);
    Ok(svid)
}

/// What stands after the first half.
struct Opened {
    node: SpiffeId,
    verified_claim: VerifiedClaim,
    challenge: Challenge,
    held: Option<Arc<AttestationState>>,
    logs_from: Option<Arc<AttestationState>>,
    run: AgentRunId,
    /// Whether the kept EK certificate does not read back; the claim shows one that holds.
    is_damaged: bool,
}

/// What an attestation follows.
struct Prior {
    /// What was held of the node when the challenge was made.
    held: Option<Arc<AttestationState>>,
    /// The same, as far as the logs go on from it.
    logs_from: Option<Arc<AttestationState>>,
    /// The agent's run.
    run: AgentRunId,
}

impl Prior {
    /// Whether something is held that the logs do not go on from.
    fn is_anew(&self) -> bool {
        self.held != self.logs_from
    }
}

/// Evidence that holds, with the verdict on it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) node: SpiffeId,
    pub(super) appraisal: Appraisal,
    /// What it was judged by.
    pub(super) basis: Basis,
    /// What was held of the node when the challenge was made.
    pub(super) before: Option<Arc<AttestationState>>,
    pub(super) update: EvidenceUpdate,
    /// From when on, in Unix seconds, the verdict no longer counts.
    pub(super) stale_at: Option<i64>,
    /// The room of its logs: what is kept of them is in memory until the store has it.
    pub(super) _room: Option<LogPermit>,
}

/// The first half: the claim is examined and a challenge made for it.
async fn open(attestor: &Attestor, payload: Bytes, csr: Bytes, subject: &mut Subject) -> Result<Opened, Refusal> {
    let claim = convert::claim(&decode::<attest::Tpm2Claim>(&payload)?, &csr)?;
    let (ek, run) = (ek_sha256(&claim)?, AgentRunId(claim.session));
    let id = NodeId::new(attestor.journal.trust_domain(), &ek)
        .map(NodeId::into_spiffe_id)
        .map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
    subject.is(&id, ek);
    let (row, held) = {
        let state = attestor.journal.state();
        let row = state.node(&id).cloned();
        // Who was evicted, or was never let in, has no history to follow: an operator's word makes a new beginning.
        let held = row.as_ref().and_then(|row| {
            let proven = state.attestation(&id)?;
            (!row.begins_anew(proven)).then(|| Arc::clone(proven))
        });
        (row, held)
    };
    decide::require_not_blocked(row.as_deref())
        .map_err(|error| admission::refusal(attestor.journal.trust_domain(), error))?;
    // What does not read back is not gone on from.
    let logs_from = match &held {
        Some(held) if attestor.journal.unreadable().contains(&id) => Some(Arc::new(held.without_logs())),
        held => held.clone(),
    };
    let (known, damage) = known(&attestor.journal, ek, row.as_deref()).await?;
    let is_damaged = damage.is_some();
    let (trust, pcrs) = (attestor.journal.state().trust(), attestor.settings.pcrs.clone());
    let (nonce, secret) = (random()?, Zeroizing::new(random()?));
    let now = attestor.journal.clock().now();
    let is_short = claim.ek_chain.len() <= SHORT_CHAIN;
    let work = move || {
        let shown = shown(&claim);
        let verified_claim = verify_claim(claim, &trust, Some(&known), now).map_err(|error| {
            let is_revoked = matches!(error, VerifyError::EkCertificate(EkCertificateError::Revoked));
            let shown = shown.filter(|_| is_revoked);
            let revoked = shown.and_then(|shown| revoked_certificate(&shown, Some(&known), &trust, now));
            (Refusal::from(error), revoked)
        })?;
        // Who keeps the certificate back now would be judged by less than what was verified.
        if let Some(damage) = damage.filter(|_| verified_claim.new_certificate().is_none()) {
            return Err((Refusal::of(NodeClass::Unable, &damage), None));
        }
        // An AK that this EK activated before has nothing to show by doing it again.
        let secret = (!verified_claim.ak_is_known()).then_some(secret);
        let challenge = verified_claim.challenge_with(nonce, secret, pcrs, now);
        let challenge = challenge.map_err(|error| (Refusal::from(VerifyError::from(error)), None))?;
        Ok((verified_claim, challenge))
    };
    let opened = attestor.compute.run_unless(is_short, work).await;
    let opened = opened.map_err(|_| Refusal::bare(NodeClass::Unable))?;
    let (verified_claim, challenge) = opened.map_err(|(refusal, revoked)| {
        // Nobody has proven to hold this key. But that its vendor took the certificate back is the vendor's word.
        subject.has_revoked(revoked);
        refusal
    })?;
    Ok(Opened {
        held,
        logs_from,
        node: id,
        verified_claim,
        challenge,
        run,
        is_damaged,
    })
}

/// What is known of the TPM before it proves anything; and that its certificate does not read back, where that is so.
async fn known(
    journal: &Journal,
    ek_sha256: [u8; 32],
    row: Option<&Node>,
) -> Result<(KnownTpm, Option<UnreadableCertificate>), Refusal> {
    let kept = journal.store().ek_certificate(&ek_sha256).await;
    let kept = kept.map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
    let (certificate, damage) = match kept.map(|kept| UnreadableCertificate::read(&kept)).transpose() {
        Ok(certificate) => (certificate, None),
        Err(damage) => {
            journal.unreadable_certificates().note(&damage);
            (None, Some(damage))
        }
    };
    // One that still waits is not enrolled: it gets no leave that enrolled ones have.
    let enrolled = row.filter(|row| row.state.is_served());
    let known = KnownTpm {
        ek_sha256,
        ak_name: enrolled.and_then(|row| Name::parse(&row.ak_name).ok()),
        enrolled: enrolled.is_some(),
        certificate,
    };
    Ok((known, damage))
}

fn shown(claim: &Claim) -> Option<EkCertificateChain> {
    Some(EkCertificateChain {
        certificate: claim.ek_certificate.clone()?,
        intermediates: claim.ek_chain.clone(),
    })
}

/// The logs are held against the quote, and all that is proven by then against the policies. What the EK was let in by is
/// judged again: a challenge is open for a while.
async fn appraise(
    attestor: &Attestor,
    node: SpiffeId,
    verified_proof: VerifiedProof,
    logs: Logs,
    prior: Prior,
) -> Result<Judged, Refusal> {
    let now = attestor.journal.clock().now();
    let (policies, basis) = {
        let state = attestor.journal.state();
        let basis = Basis {
            rules: state.rules().revision,
            trust: state.trust_revision(),
            inventory: Arc::clone(state.inventory()),
            other_eks: state.listed_with(verified_proof.ek_sha256()),
            ek_ids: verified_proof.ek_ids().collect(),
            ek_sha256: *verified_proof.ek_sha256(),
        };
        (Arc::clone(&state.rules().set), basis)
    };
    let mut beginnings = evidence_update::prior_logs(
        &attestor.journal,
        &attestor.compute,
        &node,
        prior.logs_from.as_deref(),
        &verified_proof,
        &policies,
    )
    .await?;
    let is_short = verified_proof.intermediates() <= SHORT_CHAIN
        && logs.bytes() + beginnings.bytes() <= SHORT_LOGS
        && logs.list_bytes() <= SHORT_LIST;
    let journal = Arc::clone(&attestor.journal);
    let work = move || {
        let announced = verified_proof.logs().to_vec();
        let verified_proof = verified_proof.enrolled_again(&basis.inventory.trust(), now)?;
        let evidence = verify_logs(verified_proof, logs.logs, &beginnings.logs)?;
        let listed = Listed {
            labels: basis.inventory.labels(&evidence),
            other_eks: basis.other_eks.clone(),
        };
        let files = beginnings
            .recalled(&node)
            .map_err(|error| evidence_update::unreadable(&journal, &node, &error))?;
        let mut appraisal = appraise_following(files, evidence, listed, &policies, now);
        let stale_at = policies.stale_at(appraisal.facts(), now);
        let update = EvidenceUpdate::of(
            &node,
            &mut appraisal,
            &announced,
            prior.logs_from.as_deref(),
            prior.run,
            clock::unix_seconds(now),
        )?;
        let update = if prior.is_anew() {
            update.without_other_logs()
        } else {
            update
        };
        Ok(Judged {
            node,
            appraisal,
            basis,
            before: prior.held,
            update,
            stale_at,
            _room: logs.room,
        })
    };
    let judged = attestor.compute.run_unless(is_short, work).await;
    judged.map_err(|_| Refusal::bare(NodeClass::Unable))?
}

fn refusal(appraisal: &Appraisal) -> Option<Refusal> {
    let reason = appraisal.refusal()?;
    Some(Refusal {
        class: NodeClass::NotAllowed,
        code: reason.code,
        text: reason.text.clone(),
        compared: reason.compared.clone(),
    })
}

/// The second half: a trusted node gets its SVID, and its row.
async fn admit(
    attestor: &Attestor,
    remote: SocketAddr,
    judged: Judged,
    subject: &Subject,
) -> Result<IssuedSvid, Refusal> {
    let appraisal = &judged.appraisal;
    admission::admit_or_wait(&attestor.journal, &attestor.settings.approval, appraisal).await?;
    let unable = |error: &dyn hallmark_reason::Coded| Refusal::of(NodeClass::Unable, error);
    let grant = authorise_node(appraisal, attestor.journal.trust_domain(), attestor.settings.lifetime)
        .map_err(|error| unable(&error))?;
    let key = SubjectKey::from_spki(appraisal.evidence().svid_spki()).map_err(|error| unable(&error))?;
    let id = grant.spiffe_id().clone();
    let order = Order {
        grant: grant.into(),
        key: OrderKey::Proven(key),
        entry: "".into(),
        has_role: false,
    };
    let intended = attestor.issuer.prepare(id.as_str(), vec![order]).await;
    let svid = intended.only().map_err(|error| unable(&error))?;
    let facts = AttestedFacts {
        svid_serial: SerialHex(&svid.serial.to_be_bytes()).to_string(),
        svid_not_after: svid.expires_at,
        authority_key_label: intended.authority().to_owned(),
        ..AttestedFacts::of(appraisal)
    };
    let class = facts.class.clone();
    // Verdict, row and intent are durable together: one flush, and nothing is signed for whom the row refuses.
    let recorded = verdict::record_accepted(attestor, subject, &judged, &intended, svid, facts).await?;
    drop(judged);
    let signed = attestor.issuer.sign(intended, &recorded).await.pop();
    match signed.unwrap_or(Err(IssueError::Interrupted)) {
        Ok(issued) => {
            verdict::still_stands(&attestor.journal, &id, svid)?;
            let number = svid.serial.to_be_bytes();
            tracing::info!(%id, %remote, serial = %SerialHex(&number), expires_at = svid.expires_at, %class, "node attested");
            Ok(issued)
        }
        Err(error) => {
            verdict::take_back(&attestor.journal, &id, svid).await;
            Err(unable(&error))
        }
    }
}

pub(super) fn decode<M: prost::Message + Default>(bytes: &Bytes) -> Result<M, Refusal> {
    // Without the path of its module.
    let message = std::any::type_name::<M>().rsplit("::").next().unwrap_or_default();
    M::decode(bytes.clone()).map_err(|error| Refusal {
        text: format!("payload is not a valid {message} message: {error}"),
        ..Refusal::bare(NodeClass::Evidence(RefusalClass::Malformed))
    })
}

fn random() -> Result<[u8; 32], Refusal> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Refusal::bare(NodeClass::Unable))?;
    Ok(bytes)
}
