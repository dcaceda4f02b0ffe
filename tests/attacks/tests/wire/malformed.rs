//! What is no attestation at all: noise, wrong messages, wrong order, too much, too many, and silence.

use crate::scene::site;
use bytes::{Buf as _, BufMut as _, Bytes};
use hallmark_api::agent::attest_agent_request::{Params, Step};
use hallmark_api::agent::{AgentX509svidParams, AttestAgentRequest, agent_client::AgentClient};
use hallmark_api::attest::Tpm2LogPart;
use hallmark_api::bundle::{GetBundleRequest, bundle_client::BundleClient};
use hallmark_api::health::HealthCheckRequest;
use hallmark_api::types::{AttestationData, Entry};
use hallmark_attacks::{Wire, anonymous_client, attest, claim_message, open, proof_message};
use hallmark_evidence::{Log, LogKind};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use prost::Message as _;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

/// Bytes that repeat for a seed (xorshift), so that a failure can be made again.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Sends raw messages to `AttestAgent`, and returns what the stream ends with.
async fn raw(wire: &Wire, messages: Vec<Vec<u8>>) -> Status {
    let mut grpc = tonic::client::Grpc::new(wire.channel());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/spire.api.server.agent.v1.Agent/AttestAgent");
    let requests = Request::new(tokio_stream::iter(messages));
    let mut answers = match grpc.streaming(requests, path, Raw).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status,
    };
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if all were well"),
            Err(status) => return status,
        }
    }
}

fn params(kind: &str, payload: Vec<u8>, csr: Vec<u8>) -> AttestAgentRequest {
    let data = AttestationData {
        r#type: kind.into(),
        payload: payload.into(),
    };
    AttestAgentRequest {
        step: Some(Step::Params(Params {
            data: Some(data),
            params: Some(AgentX509svidParams { csr: csr.into() }),
        })),
    }
}

#[test]
fn noise_and_wrong_messages_are_refused() {
    site(async |site| {
        let wire = site.wire().await;
        let machine = SoftwareMachine::new(&site.vendor);
        let (claim, csr) = claim_message(&machine.claim());
        let entry = Entry {
            id: "an entry".into(),
            selectors: vec![Default::default(); 3],
            ..Default::default()
        };
        let empty = AttestAgentRequest { step: None };
        let no_data = AttestAgentRequest {
            step: Some(Step::Params(Params {
                data: None,
                params: Some(AgentX509svidParams { csr: csr.clone() }),
            })),
        };
        let response_first = AttestAgentRequest {
            step: Some(Step::ChallengeResponse(Bytes::from_static(b"early"))),
        };
        for (what, messages, codes) in [
            (
                "another message",
                vec![entry.encode_to_vec()],
                vec![Code::Internal, Code::InvalidArgument],
            ),
            ("no step", vec![empty.encode_to_vec()], vec![Code::InvalidArgument]),
            ("no data", vec![no_data.encode_to_vec()], vec![Code::InvalidArgument]),
            (
                "answer first",
                vec![response_first.encode_to_vec()],
                vec![Code::InvalidArgument],
            ),
            ("nothing", vec![], vec![Code::Cancelled]),
            (
                "params twice",
                vec![params("tpm2", claim.encode_to_vec(), csr.to_vec()).encode_to_vec(); 2],
                vec![Code::InvalidArgument],
            ),
            (
                "no CSR",
                vec![params("tpm2", claim.encode_to_vec(), vec![]).encode_to_vec()],
                vec![Code::InvalidArgument],
            ),
            (
                "other type",
                vec![params("TPM2", claim.encode_to_vec(), csr.to_vec()).encode_to_vec()],
                vec![Code::InvalidArgument],
            ),
        ] {
            let told = raw(&wire, messages).await;
            assert!(codes.contains(&told.code()), "{what}: {told}");
        }
        for seed in 1..60_u64 {
            let length = usize::try_from(seed * seed).unwrap();
            let told = raw(&wire, vec![noise(seed, length)]).await;
            assert!(
                [Code::Internal, Code::InvalidArgument].contains(&told.code()),
                "seed {seed}: {told}"
            );
            let told = raw(
                &wire,
                vec![params("tpm2", noise(seed, length), csr.to_vec()).encode_to_vec()],
            )
            .await;
            assert_eq!(told.code(), Code::InvalidArgument, "seed {seed}: {told}");
            assert!(told.message().ends_with("(HM-SRV-0101)"), "seed {seed}: {told}");
        }
        site.verdicts().await;
        // Noise as the proof.
        for seed in 1..20 {
            let (mut attempt, _) = open(&wire, &machine.claim()).await.unwrap();
            attempt.send(noise(seed, 300).into()).await.unwrap();
            let told = attempt.svid().await.unwrap_err();
            assert_eq!(told.code(), Code::InvalidArgument, "seed {seed}: {told}");
        }
        assert_eq!(site.verdicts().await.len(), 19, "each is on record");
        site.control(&wire, "noise").await;
    });
}

#[test]
fn what_is_too_large_is_refused_unread() {
    site(async |site| {
        for size in [300 * 1024, 5 * 1024 * 1024, 40 * 1024 * 1024] {
            let wire = site.wire().await;
            let told = raw(&wire, vec![params("tpm2", vec![0; size], vec![1]).encode_to_vec()]).await;
            assert!(
                [Code::OutOfRange, Code::ResourceExhausted, Code::Unknown].contains(&told.code()),
                "{size}: {told}"
            );
            let machine = SoftwareMachine::new(&site.vendor);
            let (mut attempt, _) = open(&wire, &machine.claim()).await.unwrap();
            attempt.send(vec![0; size].into()).await.unwrap();
            attempt.svid().await.unwrap_err();
        }
        // Within the transport's bound, beyond the claim's own.
        let wire = site.wire().await;
        let machine = SoftwareMachine::new(&site.vendor);
        site.verdicts().await;
        for (what, change) in [
            (
                "CSR",
                (|c| c.csr = vec![0x30; 64 * 1024]) as fn(&mut hallmark_verify::testing::ClaimParts),
            ),
            ("EK certificate", |c| c.ek_certificate = Some(vec![0x30; 64 * 1024])),
            ("chain", |c| c.ek_chain = vec![c.ek_chain[0].clone(); 100]),
            ("public area", |c| c.ak_public = vec![0; 10_000]),
        ] {
            let mut claim = machine.claim();
            change(&mut claim);
            let told = open(&wire, &claim).await.unwrap_err();
            assert!(told.message().ends_with("(HM-SRV-0101)"), "{what}: {told}");
            let verdicts = site.verdicts().await;
            assert!(
                verdicts.len() == 1 && matches!(&verdicts[0].code[..7], "HM-EVID" | "HM-TPMW"),
                "{what}: {verdicts:?}"
            );
        }
        site.control(&wire, "too large").await;
    });
}

#[test]
fn logs_are_read_within_what_the_tpm_signed_for() {
    site(async |site| {
        let wire = site.wire().await;
        site.verdicts().await;
        let mut machine = SoftwareMachine::new(&site.vendor);
        machine.logs = vec![Log::new(LogKind::Systemd, 0, vec![0x1e; 1000]).unwrap()];
        for (what, parts) in [
            ("longer than announced", vec![vec![0x1e; 999], vec![0x1e; 2]]),
            ("an empty part", vec![vec![0x1e; 999], vec![]]),
            ("too large a part", vec![vec![0x1e; 128 * 1024 + 1]]),
            ("other bytes", vec![vec![0x1f; 1000]]),
        ] {
            let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
            let proof = machine.prove(&challenge, wire.exporter());
            attempt
                .send(proof_message(&proof).encode_to_vec().into())
                .await
                .unwrap();
            for data in parts {
                let part = Tpm2LogPart { data: data.into() };
                attempt.send(part.encode_to_vec().into()).await.unwrap();
            }
            let told = attempt.svid().await.unwrap_err();
            let class = if what == "other bytes" {
                "HM-SRV-0105"
            } else {
                "HM-SRV-0101"
            };
            assert!(told.message().ends_with(&format!("({class})")), "{what}: {told}");
            assert_eq!(site.verdicts().await.len(), 1, "{what}");
        }
        // Announced beyond every limit: refused with the proof.
        let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
        let mut proof = proof_message(&machine.prove(&challenge, wire.exporter()));
        proof.logs[0].length = u64::MAX;
        let told = attempt.prove(&proof).await.unwrap_err();
        site.refused_as("endless log", &told, "HM-EVID-0001", "HM-SRV-0101")
            .await;
        site.control(&wire, "logs").await;
    });
}

/// Anyone may ask for the bundle: with a request of a few flags, not with one that fills the server's memory.
#[test]
fn nobody_makes_the_server_hold_much_or_for_long() {
    site(async |site| {
        // Field 15, unknown and long, of a message that is complete; the stream is left open behind it.
        let large = [vec![0x7a, 0x80, 0xe0, 0x0f], vec![0; 0x3_f000]].concat();
        let (mut calls, mut wires) = (JoinSet::new(), Vec::new());
        for number in 0..1000 {
            if number % 100 == 0 {
                let wire = site.wire().await;
                // From its first answer on, the client knows how many calls it may have under way: it refuses none of its own.
                let request = GetBundleRequest { output_mask: None };
                BundleClient::new(wire.channel()).get_bundle(request).await.unwrap();
                wires.push(wire);
            }
            let wire = wires.last().unwrap().clone();
            let message = if number % 10 == 0 { Vec::new() } else { large.clone() };
            calls.spawn(async move {
                let call = half_open(&wire, "/spire.api.server.bundle.v1.Bundle/GetBundle", message);
                // A call that does not end shows as a code that no server gives.
                tokio::time::timeout(Duration::from_secs(30), call)
                    .await
                    .unwrap_or(Code::DataLoss)
            });
        }
        let codes = calls.join_all().await;
        let count = |code| codes.iter().filter(|found| **found == code).count();
        assert_eq!((count(Code::Ok), count(Code::DataLoss)), (0, 0));
        let open = count(Code::DeadlineExceeded);
        let lost = count(Code::Unavailable);
        assert_eq!(
            (open, lost),
            (100, 0),
            "those that were only left open, and those whose connection ended"
        );
        let peak = peak_mib(site.pid);
        assert!(peak < 150, "the server's memory rose to {peak} MiB");
        let wire = site.wire().await;
        let mut bundles = BundleClient::new(wire.channel());
        bundles
            .get_bundle(GetBundleRequest { output_mask: None })
            .await
            .unwrap();
        site.control(&wire, "large and half-open requests").await;
    });
}

/// Calls `path` with one message, leaves the request open, and returns how the call ends.
async fn half_open(wire: &Wire, path: &'static str, message: Vec<u8>) -> Code {
    let mut grpc = tonic::client::Grpc::new(wire.channel());
    grpc.ready().await.unwrap();
    let messages = tokio_stream::iter([message]).chain(tokio_stream::pending());
    match grpc
        .streaming(Request::new(messages), PathAndQuery::from_static(path), Raw)
        .await
    {
        Ok(answers) => match answers.into_inner().message().await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        },
        Err(status) => status.code(),
    }
}

/// Peak memory of a process, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_thousand_attestations_of_nobody_and_the_server_goes_on() {
    site(async |site| {
        let (health, server) = (site.admin.clone(), site.pid);
        // Strangers whose claims are well-formed, so that the server has to look at each.
        let stranger = VendorCa::new();
        let (claim, csr) = claim_message(&SoftwareMachine::new(&stranger).claim());
        let message = params("tpm2", claim.encode_to_vec(), csr.to_vec()).encode_to_vec();
        let mut wires = Vec::new();
        for _ in 0..10 {
            wires.push(site.wire().await);
        }
        let mut flood = JoinSet::new();
        for number in 0..1000 {
            let (wire, message) = (wires[number % wires.len()].clone(), message.clone());
            flood.spawn(async move { raw(&wire, vec![message]).await });
        }
        let started = Instant::now();
        let (good, wire) = (SoftwareMachine::new(&site.vendor), site.wire().await);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            let request = HealthCheckRequest { service: String::new() };
            let answer = health.health.clone().check(request).await.unwrap().into_inner();
            assert_eq!(answer.status, 1, "SERVING");
            slowest = slowest.max(asked.elapsed());
        }
        attest(&wire, &good).await.unwrap();
        let answers = flood.join_all().await;
        assert_eq!(answers.len(), 1000);
        for told in &answers {
            assert!(
                [Code::PermissionDenied, Code::ResourceExhausted].contains(&told.code()),
                "{told}"
            );
        }
        assert!(answers.iter().any(|told| told.message().ends_with("(HM-SRV-0102)")));
        assert!(slowest < Duration::from_secs(3), "health took {slowest:?}");
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        attest(&wire, &good).await.unwrap();
        let peak = peak_mib(server);
        assert!(peak < 300, "the server's memory rose to {peak} MiB");
    });
}

#[test]
fn half_open_connections_and_streams_hold_nobody_up() {
    site(async |site| {
        let connector = TlsConnector::from(Arc::new(anonymous_client().unwrap()));
        let (mut silent, mut shaken, mut streams, mut unanswered) = (vec![], vec![], vec![], vec![]);
        for number in 0..60_u64 {
            // Connected and silent; half a ClientHello; noise.
            let mut tcp = TcpStream::connect(&site.address).await.unwrap();
            match number % 3 {
                0 => {}
                1 => tcp.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap(),
                _ => tcp.write_all(&noise(number + 1, 500)).await.unwrap(),
            }
            silent.push(tcp);
            // A handshake, and then no HTTP/2, half a preface, or noise.
            let tcp = TcpStream::connect(&site.address).await.unwrap();
            let name = ServerName::try_from("server").unwrap();
            let mut tls = connector.connect(name, tcp).await.unwrap();
            match number % 3 {
                0 => {}
                1 => tls.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap(),
                _ => {
                    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), noise(number + 1, 200)].concat();
                    tls.write_all(&bytes).await.unwrap();
                }
            }
            shaken.push(tls);
        }
        let wire = site.wire().await;
        for _ in 0..100 {
            let (kept, queue) = mpsc::channel::<AttestAgentRequest>(1);
            let answers = AgentClient::new(wire.channel())
                .attest_agent(ReceiverStream::new(queue))
                .await
                .unwrap();
            streams.push((kept, answers));
        }
        // Challenges that nobody answers: fewer than one address may have open.
        let machine = SoftwareMachine::new(&site.vendor);
        for _ in 0..20 {
            unanswered.push(open(&wire, &machine.claim()).await.unwrap());
        }
        let started = Instant::now();
        let fresh = site.wire().await;
        site.control(&fresh, "half open").await;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        drop((silent, shaken, streams, unanswered));
        site.control(&fresh, "after").await;
    });
}
