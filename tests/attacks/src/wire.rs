//! The `AttestAgent` stream, driven by hand.

use crate::tls;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use hallmark_api::agent::agent_client::AgentClient;
use hallmark_api::agent::attest_agent_request::{Params, Step};
use hallmark_api::agent::attest_agent_response::Step as Answer;
use hallmark_api::agent::{AgentX509svidParams, AttestAgentRequest, AttestAgentResponse};
use hallmark_api::attest::{Tpm2Challenge, Tpm2Claim, Tpm2LogPart, Tpm2Proof};
use hallmark_api::types::{AttestationData, X509svid};
use hallmark_evidence::{EXPORTER_LABEL, Limits, Log};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use tower::service_fn;

/// One anonymous TLS connection to a server.
#[derive(Debug, Clone)]
pub struct Wire {
    channel: Channel,
    exporter: [u8; 32],
}

impl Wire {
    /// Connects over TLS 1.3.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, tls::anonymous(&[&TLS13])?, None).await
    }

    /// Connects over TLS 1.3 from an address of this machine.
    ///
    /// # Errors
    /// When the server cannot be reached from there.
    pub async fn connect_from(source: IpAddr, address: &str) -> Result<Self> {
        Self::connect_with(address, tls::anonymous(&[&TLS13])?, Some(source)).await
    }

    /// Connects over mutual TLS, with the certificate and key that `identity` resolves to.
    ///
    /// # Errors
    /// When the server cannot be reached or does not take the certificate.
    pub async fn connect_as(address: &str, identity: Arc<dyn ResolvesClientCert>) -> Result<Self> {
        Self::connect_with(address, tls::identified(identity)?, None).await
    }

    /// Connects over TLS 1.2, whose exporter the protocol does not accept.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect_tls12(address: &str) -> Result<Self> {
        Self::connect_with(address, tls::anonymous(&[&TLS12])?, None).await
    }

    async fn connect_with(address: &str, config: ClientConfig, source: Option<IpAddr>) -> Result<Self> {
        let connector = TlsConnector::from(Arc::new(config));
        let taken = Arc::new(Mutex::new(None));
        let (slot, target) = (Arc::clone(&taken), address.to_owned());
        let channel = Endpoint::from_static("http://server")
            .connect_with_connector(service_fn(move |_: Uri| {
                let (connector, target, slot) = (connector.clone(), target.clone(), Arc::clone(&slot));
                async move {
                    let tcp = tcp_from(source, &target).await?;
                    tcp.set_nodelay(true)?;
                    let name = ServerName::try_from("server").map_err(std::io::Error::other)?;
                    let stream = connector.connect(name, tcp).await?;
                    let exporter = stream
                        .get_ref()
                        .1
                        .export_keying_material([0_u8; 32], EXPORTER_LABEL, None)
                        .map_err(std::io::Error::other)?;
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(exporter);
                    Ok::<_, std::io::Error>(TokioIo::new(stream))
                }
            }))
            .await?;
        let exporter = taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .context("connected without TLS")?;
        Ok(Self { channel, exporter })
    }

    /// The exporter of this connection, which binds an attestation to it.
    #[must_use]
    pub fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    /// The channel, for other services.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Opens an attestation and sends its first message.
    ///
    /// # Errors
    /// The status with which the server refuses.
    pub async fn attest(&self, kind: &str, payload: Bytes, csr: Bytes) -> Result<Attempt, Status> {
        let (requests, queue) = mpsc::channel(4);
        let data = AttestationData {
            r#type: kind.to_owned(),
            payload,
        };
        let params = Params {
            data: Some(data),
            params: Some(AgentX509svidParams { csr }),
        };
        let first = AttestAgentRequest {
            step: Some(Step::Params(params)),
        };
        requests
            .send(first)
            .await
            .map_err(|_| Status::internal("the queue is closed"))?;
        let answers = AgentClient::new(self.channel.clone())
            .attest_agent(ReceiverStream::new(queue))
            .await?
            .into_inner();
        Ok(Attempt { requests, answers })
    }

    /// Opens an attestation of type `tpm2` and waits for the challenge.
    ///
    /// # Errors
    /// The status with which the server refuses the claim.
    pub async fn claim(&self, claim: &Tpm2Claim, csr: Bytes) -> Result<(Attempt, Tpm2Challenge), Status> {
        let mut attempt = self.attest("tpm2", claim.encode_to_vec().into(), csr).await?;
        let challenge = attempt.challenge().await?;
        Ok((attempt, challenge))
    }
}

/// A TCP connection, from an address of this machine if one is given.
///
/// # Errors
/// When nobody listens there, or the address is not this machine's.
pub async fn tcp_from(source: Option<IpAddr>, target: &str) -> std::io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect(target).await;
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let target = target.parse().map_err(std::io::Error::other)?;
    socket.connect(target).await
}

/// An attestation under way.
#[derive(Debug)]
pub struct Attempt {
    requests: mpsc::Sender<AttestAgentRequest>,
    answers: Streaming<AttestAgentResponse>,
}

impl Attempt {
    /// Waits for the challenge.
    ///
    /// # Errors
    /// The status with which the server refuses, or a message that is no challenge.
    pub async fn challenge(&mut self) -> Result<Tpm2Challenge, Status> {
        match self.answer().await? {
            Answer::Challenge(bytes) => Tpm2Challenge::decode(bytes).map_err(|e| Status::internal(e.to_string())),
            Answer::Result(_) => Err(Status::internal("a result without a challenge")),
        }
    }

    /// Sends any bytes as the challenge's response.
    ///
    /// # Errors
    /// When the server has ended the stream.
    pub async fn send(&self, response: Bytes) -> Result<(), Status> {
        let request = AttestAgentRequest {
            step: Some(Step::ChallengeResponse(response)),
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| Status::aborted("the stream has ended"))
    }

    /// Sends the proof and waits for the SVID.
    ///
    /// # Errors
    /// The status with which the server refuses.
    pub async fn prove(&mut self, proof: &Tpm2Proof) -> Result<X509svid, Status> {
        self.send(proof.encode_to_vec().into()).await?;
        self.svid().await
    }

    /// Sends the bytes of `logs`, as they follow a proof.
    ///
    /// # Errors
    /// When the server has ended the stream.
    pub async fn send_logs(&self, logs: &[Log]) -> Result<(), Status> {
        let bytes: Vec<u8> = logs.iter().flat_map(|log| log.data.iter().copied()).collect();
        for part in bytes.chunks(Limits::LOG_PART) {
            let part = Tpm2LogPart {
                data: part.to_vec().into(),
            };
            self.send(part.encode_to_vec().into()).await?;
        }
        Ok(())
    }

    /// Waits for the SVID.
    ///
    /// # Errors
    /// The status with which the server refuses, or a message that is no result.
    pub async fn svid(&mut self) -> Result<X509svid, Status> {
        match self.answer().await? {
            Answer::Result(result) => result.svid.ok_or_else(|| Status::internal("a result without an SVID")),
            Answer::Challenge(_) => Err(Status::internal("a second challenge")),
        }
    }

    async fn answer(&mut self) -> Result<Answer, Status> {
        let message = self.answers.message().await?;
        message
            .and_then(|m| m.step)
            .ok_or_else(|| Status::cancelled("the stream ended without an answer"))
    }
}
