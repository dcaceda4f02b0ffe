//! One attestation: the two round trips of type `tpm2` on the `AttestAgent` stream.

mod challenge;

use hallmark_api::{
    agent::{self, attest_agent_request, attest_agent_response},
    attest::{self as wire, Tpm2Claim, Tpm2LogPart, Tpm2Proof},
    bundle as bundle_api, types,
};
use hallmark_evidence::{Binding, Limits, Log};
use hallmark_node::NodeId;
use hallmark_spiffe::{Bundle, SpiffeId, TrustDomain};
use hallmark_tpm::{Credential, Signed};
use hallmark_tpm_wire::{PcrSelection, PcrValues};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{error::Elapsed, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{
    AgentError,
    agent_svid::AgentSvid,
    attester::{Attester, Known, NextKey},
    connect::{Anonymous, CALL},
    convert,
    digest::sha256,
    status::{ATTEST, answered, classify},
};

use challenge::{Challenge, VERSION};

const TYPE: &str = "tpm2";
/// How often the TPM's statements are made for one challenge.
const STATEMENT_ATTEMPTS: u32 = 3;

/// What an attestation brings.
#[derive(Debug)]
pub struct Attested {
    /// The agent's new SVID.
    pub svid: AgentSvid,
    /// The trust domain's bundle, from the same server.
    pub bundle: Bundle,
}

/// Attests `key` over `connection` and checks what the server issues for it.
///
/// # Errors
/// The server refused the machine, answered outside the protocol, or issued something else than was asked for; or the
/// TPM failed.
pub async fn attest(
    trust_domain: &TrustDomain,
    attester: &mut Attester,
    key: &NextKey,
    connection: &Anonymous,
) -> Result<Attested, AgentError> {
    let result = exchange(attester, key, connection).await;
    // Whatever became of it, an endorsement key that had to be made gives its slot back.
    if let Err(error) = attester.tpm().release_endorsement().await {
        tracing::warn!(%error, "the TPM did not let the endorsement key go");
    }
    let id = attester.known().and_then(|known| agent_id(trust_domain, known).ok());
    let (known, svid) = result.map_err(|error| match &id {
        Some(id) => error.of_node(id),
        None => error,
    })?;
    let bundle = fetch_bundle(trust_domain, connection.channel.clone()).await?;
    let expected = agent_id(trust_domain, &known)?;
    let svid = AgentSvid::accept(key, svid, &expected, &bundle)?;
    Ok(Attested { svid, bundle })
}

/// The id that the server gives to the machine with this endorsement key.
///
/// # Errors
/// The endorsement key has no public key in SPKI form.
pub fn agent_id(trust_domain: &TrustDomain, known: &Known) -> Result<SpiffeId, AgentError> {
    let key_fault = |detail: String| AgentError::Key { detail };
    let spki = known
        .endorsement
        .public
        .spki_der()
        .map_err(|error| key_fault(error.to_string()))?;
    let node = NodeId::new(trust_domain, &sha256(&spki));
    node.map(NodeId::into_spiffe_id)
        .map_err(|error| key_fault(error.to_string()))
}

/// The trust domain's bundle.
///
/// # Errors
/// The call fails, or the bundle cannot be used.
pub(crate) async fn fetch_bundle(trust_domain: &TrustDomain, channel: Channel) -> Result<Bundle, AgentError> {
    let mut client = bundle_api::bundle_client::BundleClient::new(channel);
    let answer = client.get_bundle(bundle_api::GetBundleRequest { output_mask: None });
    convert::bundle(trust_domain, answered("GetBundle", answer).await?).map(|(bundle, _tainted)| bundle)
}

async fn exchange(
    attester: &mut Attester,
    key: &NextKey,
    connection: &Anonymous,
) -> Result<(Known, types::X509svid), AgentError> {
    let known = attester.identify().await?;
    let (requests, outgoing) = mpsc::channel(2);
    send(&requests, params(&known, key, attester.session())).await?;
    let mut client = agent::agent_client::AgentClient::new(connection.channel.clone());
    let answer = client
        .attest_agent(ReceiverStream::new(outgoing))
        .await
        .map_err(|status| classify(ATTEST, &status))?;
    let mut answers = answer.into_inner();

    let challenge = match next(&mut answers).await? {
        attest_agent_response::Step::Challenge(bytes) => Challenge::decode(&bytes).map_err(AgentError::Protocol)?,
        attest_agent_response::Step::Result(_) => {
            return Err(AgentError::Protocol("a result without a challenge"));
        }
    };
    let (proof, logs) = prove(attester, &known, key, &connection.exporter, challenge).await?;
    // A server that refuses before it has read everything says why in its answer.
    let _ = send_proof(&requests, &proof, &logs).await;

    let result = match next(&mut answers).await? {
        attest_agent_response::Step::Result(result) => result,
        attest_agent_response::Step::Challenge(_) => return Err(AgentError::Protocol("a second challenge")),
    };
    drop(requests);
    let svid = result.svid.ok_or(AgentError::Protocol("a result without an SVID"))?;
    Ok((known, svid))
}

async fn send(
    requests: &mpsc::Sender<agent::AttestAgentRequest>,
    step: attest_agent_request::Step,
) -> Result<(), AgentError> {
    // A server that stops reading holds this up.
    timeout(CALL, requests.send(agent::AttestAgentRequest { step: Some(step) }))
        .await
        .map_err(slow)?
        .map_err(|_| AgentError::Protocol("the stream ended early"))
}

fn slow(_: Elapsed) -> AgentError {
    AgentError::Call {
        call: ATTEST,
        detail: "no answer in time".into(),
    }
}

/// The proof, and behind it the bytes of the logs that it announces.
async fn send_proof(
    requests: &mpsc::Sender<agent::AttestAgentRequest>,
    proof: &Tpm2Proof,
    logs: &[Log],
) -> Result<(), AgentError> {
    let response = |bytes: Vec<u8>| attest_agent_request::Step::ChallengeResponse(bytes.into());
    send(requests, response(proof.encode_to_vec())).await?;
    for log in logs {
        for part in log.data.chunks(Limits::LOG_PART) {
            let part = Tpm2LogPart {
                data: part.to_vec().into(),
            };
            send(requests, response(part.encode_to_vec())).await?;
        }
    }
    Ok(())
}

async fn next(answers: &mut Streaming<agent::AttestAgentResponse>) -> Result<attest_agent_response::Step, AgentError> {
    let message = timeout(CALL, answers.message()).await.map_err(slow)?;
    message
        .map_err(|status| classify(ATTEST, &status))?
        .and_then(|answer| answer.step)
        .ok_or(AgentError::Protocol("the stream ended early"))
}

fn params(known: &Known, key: &NextKey, session: u64) -> attest_agent_request::Step {
    let claim = Tpm2Claim {
        version: VERSION,
        ek_certificate: known.endorsement.certificate.clone().unwrap_or_default().into(),
        ek_chain: known.chain.iter().cloned().map(Into::into).collect(),
        ek_public: known.endorsement.public.marshal().into(),
        ak_public: known.attestation_key.marshal().into(),
        svid_public: key.public.marshal().into(),
        session,
    };
    attest_agent_request::Step::Params(agent::attest_agent_request::Params {
        data: Some(types::AttestationData {
            r#type: TYPE.into(),
            payload: claim.encode_to_vec().into(),
        }),
        params: Some(agent::AgentX509svidParams {
            csr: key.csr.clone().into(),
        }),
    })
}

async fn prove(
    attester: &mut Attester,
    known: &Known,
    key: &NextKey,
    exporter: &[u8; 32],
    challenge: Challenge,
) -> Result<(Tpm2Proof, Vec<Log>), AgentError> {
    let activated_secret = match challenge.credential {
        None => Vec::new(),
        Some((id_object, encrypted_secret)) => {
            let credential = Credential {
                id_object,
                encrypted_secret,
            };
            attester.activate(known, credential).await?.to_vec()
        }
    };
    let to_bind = ToBind {
        nonce: &challenge.nonce,
        exporter,
        key,
        selection: &challenge.selection,
    };
    let stated = state(attester, &to_bind, challenge.logs).await?;
    let proof = Tpm2Proof {
        version: VERSION,
        activated_secret: activated_secret.into(),
        certify: Some(convert::signed(stated.certify)),
        quote: Some(convert::signed(stated.quote)),
        pcr_values: convert::pcr_values(&stated.values),
        logs: stated.logs.iter().map(convert::announced_log).collect(),
    };
    Ok((proof, stated.logs))
}

/// What both statements are bound to, but for the logs, and what is quoted.
struct ToBind<'a> {
    nonce: &'a [u8; 32],
    exporter: &'a [u8; 32],
    key: &'a NextKey,
    selection: &'a PcrSelection,
}

/// The TPM's statements, and the logs that they are bound to.
struct Stated {
    certify: Signed,
    quote: Signed,
    values: PcrValues,
    logs: Vec<Log>,
}

/// Lets the TPM certify the key and quote its registers. Where the server holds the beginning of a log from another
/// boot than the quote's, all is done once more with the logs whole; likewise where something was measured between the
/// reading of a boot log and the quote.
async fn state(
    attester: &mut Attester,
    to_bind: &ToBind<'_>,
    wanted: Vec<wire::LogOffset>,
) -> Result<Stated, AgentError> {
    let mut reading = attester.read_logs(wanted).await?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let digests: Vec<_> = reading.logs.iter().map(Log::digest).collect();
        let binding = Binding::compute(to_bind.nonce, to_bind.exporter, &to_bind.key.public.name(), &digests);
        let certify = attester.tpm().certify(to_bind.key.id, binding).await?;
        let quoted = attester.quote(to_bind.selection, binding, &reading).await?;
        let (stood_still, bound) = attester.logs_stood_still(reading).await?;
        let is_of_boot = bound.is_of_boot(&quoted.clock);
        if stood_still && is_of_boot || attempts == STATEMENT_ATTEMPTS {
            return Ok(Stated {
                certify,
                quote: quoted.quote,
                values: quoted.values,
                logs: [bound.logs, quoted.growing].concat(),
            });
        }
        reading = attester.read_logs_again(bound, !is_of_boot).await?;
    }
}
