//! A node's life: attested, renewed, banned, evicted; and what it hears when it is refused.

use std::time::Duration;

use hallmark_api::{
    admin::{GetNodeRequest, ListRecordsRequest, Record, admin_client::AdminClient},
    agent::{
        BanAgentRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, PostStatusRequest,
        agent_client::AgentClient,
    },
    rpc,
    types::{PermissionDeniedDetails, Spiffeid, X509svid, permission_denied_details::Reason},
};
use hallmark_attacks::{Wire, attest, attest_with, claim_message, open, proof_message};
use hallmark_node::NodeId;
use hallmark_server::{clock::Clock, run::Running};
use hallmark_spiffe::x509::SerialHex;
use hallmark_state::NodeState;
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, VendorCa};
use prost::Message as _;
use tonic::{Code, Status, transport::Channel};

use crate::{
    client::{Client, local},
    lab::{Lab, isolated},
};

/// What an agent acts on.
pub(crate) fn reason(status: &Status) -> Reason {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let details = rpc::Status::decode(status.details()).unwrap();
    PermissionDeniedDetails::decode(&*details.details[0].value)
        .unwrap()
        .reason()
}

pub(crate) async fn wire(running: &Running) -> Wire {
    Wire::connect(&running.address.to_string()).await.unwrap()
}

/// A connection with the SVID just issued; the machine goes on with a fresh key.
pub(crate) async fn connected(running: &Running, machine: &mut SoftwareMachine, svid: X509svid) -> Channel {
    let key = std::mem::replace(&mut machine.svid, SoftwareKey::svid());
    let chain = svid.cert_chain.into_iter().map(|der| der.to_vec()).collect();
    let client = Client::anonymous(&running.server.authority.load().bundle).with(chain, key);
    client.connect(running.address).await.unwrap()
}

pub(crate) async fn post(channel: &Channel, version: &str) -> Result<(), Status> {
    let request = PostStatusRequest {
        current_bundle_serial: 0,
        agent_version: version.into(),
    };
    AgentClient::new(channel.clone()).post_status(request).await.map(drop)
}

async fn records(lab: &Lab, kind: &str) -> Vec<Record> {
    let request = ListRecordsRequest {
        kind: kind.into(),
        ..Default::default()
    };
    let answer = AdminClient::new(local(&lab.admin_socket()).await)
        .list_records(request)
        .await
        .unwrap();
    answer.into_inner().records
}

#[test]
fn a_node_attests_and_everything_is_on_record() {
    isolated("attestation::a_node_attests_and_everything_is_on_record", async |lab| {
        let running = lab.start().await;
        let mut machine = SoftwareMachine::new(&lab.vendor);
        let svid = attest(&wire(&running).await, &machine).await.unwrap();
        let id = svid.id.clone().unwrap();
        assert!(
            id.path.starts_with("/spire/agent/tpm2/") && id.path.len() == 18 + 64,
            "{}",
            id.path
        );
        let spki = machine.svid.spki();
        let agent = connected(&running, &mut machine, svid.clone()).await;
        post(&agent, "1.2.3").await.unwrap();

        let admin = local(&lab.admin_socket()).await;
        let request = GetAgentRequest {
            id: Some(id.clone()),
            output_mask: None,
        };
        let row = AgentClient::new(admin.clone())
            .get_agent(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (row.agent_version.as_str(), row.can_reattest, row.banned),
            ("1.2.3", true, false)
        );
        assert_eq!(row.x509svid_expires_at, svid.expires_at);
        assert!(
            row.selectors
                .iter()
                .any(|selector| selector.value.starts_with("pcr:sha256:7:"))
        );

        let full = format!("spiffe://{}{}", id.trust_domain, id.path);
        let node = AdminClient::new(admin)
            .get_node(GetNodeRequest { id: full.clone() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (node.verdict.as_str(), node.state.as_str(), node.pcrs.len()),
            ("trusted", "active", 16)
        );
        assert!(full.ends_with(&node.ek_sha256));
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
        assert_eq!(node.svid_key_sha256, hex::encode(hash));
        let serial: u128 = row.x509svid_serial_number.parse().unwrap();
        assert_eq!(node.svid_serial, SerialHex(&serial.to_be_bytes()).to_string());

        let verdicts = records(&lab, "verdict").await;
        assert_eq!(verdicts.len(), 1);
        assert_eq!(
            (verdicts[0].outcome.as_str(), verdicts[0].subject.as_str()),
            ("accepted", full.as_str())
        );
        // Outcomes are not waited for by who was answered.
        let outcomes = async || -> Vec<_> {
            let found = records(&lab, "svid").await.into_iter();
            found.map(|record| record.outcome).collect()
        };
        let begun = std::time::Instant::now();
        let mut svids = outcomes().await;
        while svids.len() < 4 && begun.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            svids = outcomes().await;
        }
        assert_eq!(
            svids,
            ["pending", "issued", "pending", "issued"],
            "the server's own and the node's"
        );
        lab.stop(running).await;
    });
}

#[test]
fn a_renewed_node_gives_up_its_old_svid_when_it_shows_the_new_one() {
    isolated(
        "attestation::a_renewed_node_gives_up_its_old_svid_when_it_shows_the_new_one",
        async |lab| {
            let running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let first = attest(&wire(&running).await, &machine).await.unwrap();
            let old = connected(&running, &mut machine, first.clone()).await;
            post(&old, "1").await.unwrap();

            let connection = wire(&running).await;
            let (mut attempt, challenge) = open(&connection, &machine.claim()).await.unwrap();
            assert!(
                challenge.credential.is_none(),
                "this AK was activated for this EK before"
            );
            let proof = hallmark_attacks::proof_message(&machine.prove(&challenge, connection.exporter()));
            let second = attempt.prove(&proof).await.unwrap();
            assert_eq!(second.id, first.id, "one machine has one id");
            post(&old, "2").await.unwrap();
            lab.stop(running).await;

            // Both are good after a restart as well.
            let running = lab.start().await;
            let old_key = first;
            let new = connected(&running, &mut machine, second).await;
            post(&new, "3").await.unwrap();
            let row = running.server.journal.state().nodes().next().unwrap().clone();
            assert!(row.next.is_none() && row.current.is_some());
            drop(old_key);
            lab.stop(running).await;
        },
    );
}

#[test]
fn the_old_svid_is_refused_on_its_open_connection_too() {
    isolated(
        "attestation::the_old_svid_is_refused_on_its_open_connection_too",
        async |lab| {
            let running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let first = attest(&wire(&running).await, &machine).await.unwrap();
            let old = connected(&running, &mut machine, first).await;
            post(&old, "1").await.unwrap();
            let second = attest(&wire(&running).await, &machine).await.unwrap();
            let new = connected(&running, &mut machine, second).await;
            post(&old, "2").await.unwrap();
            post(&new, "3").await.unwrap();
            assert_eq!(reason(&post(&old, "4").await.unwrap_err()), Reason::AgentNotActive);
            post(&new, "5").await.unwrap();
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_banned_node_is_out_at_once_and_an_evicted_one_may_come_back() {
    isolated(
        "attestation::a_banned_node_is_out_at_once_and_an_evicted_one_may_come_back",
        async |lab| {
            let running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let id: Option<Spiffeid> = svid.id.clone();
            let agent = connected(&running, &mut machine, svid).await;
            post(&agent, "1").await.unwrap();

            let mut operator = AgentClient::new(local(&lab.admin_socket()).await);
            operator.ban_agent(BanAgentRequest { id: id.clone() }).await.unwrap();
            assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentBanned);
            let refused = attest(&wire(&running).await, &machine).await.unwrap_err();
            assert_eq!(reason(&refused), Reason::AgentBanned);

            operator.delete_agent(DeleteAgentRequest { id }).await.unwrap();
            assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentNotAttested);
            let (_, challenge) = open(&wire(&running).await, &machine.claim()).await.unwrap();
            assert!(
                challenge.credential.is_some(),
                "whom the server has forgotten activates anew"
            );
            assert!(attest(&wire(&running).await, &machine).await.is_ok());
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_banned_agent_is_out_even_as_an_administrator() {
    isolated(
        "attestation::a_banned_agent_is_out_even_as_an_administrator",
        async |mut lab| {
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let ek = hallmark_verify::ek_sha256(&machine.claim().decode().unwrap()).unwrap();
            let trust_domain = hallmark_spiffe::TrustDomain::parse("example.org").unwrap();
            let id = NodeId::new(&trust_domain, &ek).map(NodeId::into_spiffe_id).unwrap();
            lab.settings.insert("admin_ids".into(), vec![id.to_string()].into());
            let running = lab.start().await;
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let id = svid.id.clone();
            let agent = connected(&running, &mut machine, svid).await;
            let list = async || {
                AgentClient::new(agent.clone())
                    .list_agents(ListAgentsRequest::default())
                    .await
            };
            assert!(list().await.is_ok());
            let mut operator = AgentClient::new(local(&lab.admin_socket()).await);
            operator.ban_agent(BanAgentRequest { id: id.clone() }).await.unwrap();
            assert_eq!(reason(&list().await.unwrap_err()), Reason::AgentBanned);
            let lift = AgentClient::new(agent.clone())
                .delete_agent(DeleteAgentRequest { id })
                .await;
            assert_eq!(
                reason(&lift.unwrap_err()),
                Reason::AgentBanned,
                "nor does it lift its own ban"
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_ban_while_the_attestation_is_under_way_holds() {
    isolated(
        "attestation::a_ban_while_the_attestation_is_under_way_holds",
        async |lab| {
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let connection = wire(&running).await;
            let (mut attempt, challenge) = open(&connection, &machine.claim()).await.unwrap();
            let mut operator = AgentClient::new(local(&lab.admin_socket()).await);
            operator.ban_agent(BanAgentRequest { id: svid.id }).await.unwrap();
            let proof = hallmark_attacks::proof_message(&machine.prove(&challenge, connection.exporter()));
            assert_eq!(reason(&attempt.prove(&proof).await.unwrap_err()), Reason::AgentBanned);
            assert_eq!(
                running.server.journal.state().nodes().next().unwrap().state,
                NodeState::Banned
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_refused_node_hears_the_class_and_the_record_says_why() {
    isolated(
        "attestation::a_refused_node_hears_the_class_and_the_record_says_why",
        async |lab| {
            let running = lab.start().await;
            let good = SoftwareMachine::new(&lab.vendor);
            let stranger = SoftwareMachine::new(&VendorCa::new());
            let untrusted = attest(&wire(&running).await, &stranger).await.unwrap_err();
            assert_eq!(untrusted.code(), Code::PermissionDenied);
            assert_eq!(
                untrusted.message(),
                "failed to attest: this TPM is not trusted by the server (HM-SRV-0102)"
            );
            let connection = wire(&running).await;
            let relayed = attest_with(&connection, &good, &good.claim(), |draft| {
                draft.quote.extra_data[0] ^= 1
            })
            .await;
            assert!(relayed.unwrap_err().message().ends_with("(HM-SRV-0105)"));
            let tls12 = Wire::connect_tls12(&running.address.to_string()).await.unwrap();
            let unbound = attest(&tls12, &good).await.unwrap_err();
            assert!(unbound.message().ends_with("(HM-SRV-0110)"), "{unbound}");
            assert!(
                attest(&connection, &good).await.is_ok(),
                "the same connection and machine, honestly"
            );

            let verdicts = records(&lab, "verdict").await;
            let codes: Vec<_> = verdicts.iter().map(|record| record.code.as_str()).collect();
            assert!(
                codes[0].starts_with("HM-VERIFY-01") && codes[1].starts_with("HM-VERIFY-"),
                "{codes:?}"
            );
            assert_eq!(&codes[2..], ["HM-SRV-0110", ""]);
            assert_eq!(running.server.metrics.counters.refused.value(), 3);
            lab.stop(running).await;
        },
    );
}

/// Attack 9, "late": the answer is right, and comes after the challenge's life.
#[test]
fn an_answer_after_the_challenges_life_is_refused() {
    isolated(
        "attestation::an_answer_after_the_challenges_life_is_refused",
        async |lab| {
            let (clock, hand) = Clock::movable();
            let running = lab.try_start(clock).await.unwrap();
            let machine = SoftwareMachine::new(&lab.vendor);
            let connection = wire(&running).await;
            let answered_after = async |seconds: i64| {
                let (mut attempt, challenge) = open(&connection, &machine.claim()).await.unwrap();
                let proof = hallmark_attacks::proof_message(&machine.prove(&challenge, connection.exporter()));
                hand.advance(seconds).await;
                attempt.prove(&proof).await
            };
            let late = answered_after(61).await.unwrap_err();
            assert_eq!(late.code(), Code::Aborted, "{late}");
            assert!(late.message().ends_with("(HM-SRV-0104)"), "{late}");
            // The control: the same machine and connection, a little earlier.
            answered_after(55).await.unwrap();
            let verdicts = records(&lab, "verdict").await;
            let codes: Vec<_> = verdicts
                .iter()
                .map(|record| (record.outcome.as_str(), record.code.as_str()))
                .collect();
            assert_eq!(codes, [("refused", "HM-VERIFY-0307"), ("accepted", "")]);
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_flood_of_nonsense_leaves_the_server_serving() {
    isolated(
        "attestation::a_flood_of_nonsense_leaves_the_server_serving",
        async |lab| {
            let running = lab.start().await;
            let connections = [
                wire(&running).await,
                wire(&running).await,
                wire(&running).await,
                wire(&running).await,
            ];
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..1000_usize {
                let connection = connections[number % 4].clone();
                tasks.spawn(async move {
                    let payload = vec![0xff; number * 4].into();
                    let mut attempt = connection.attest("tpm2", payload, vec![0x30; 16].into()).await?;
                    attempt.challenge().await.map(drop)
                });
            }
            let answers = tasks.join_all().await;
            assert!(answers.iter().all(Result::is_err));
            let mut codes: Vec<_> = answers
                .into_iter()
                .filter_map(Result::err)
                .map(|status| status.code())
                .collect();
            codes.dedup();
            assert_eq!(codes, [Code::InvalidArgument]);
            let machine = SoftwareMachine::new(&lab.vendor);
            assert!(attest(&wire(&running).await, &machine).await.is_ok());
            lab.stop(running).await;
        },
    );
}

#[test]
fn half_open_streams_and_unanswered_challenges_keep_nobody_out() {
    isolated(
        "attestation::half_open_streams_and_unanswered_challenges_keep_nobody_out",
        async |mut lab| {
            lab.set("limits", "concurrent_attestations", 4);
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            // A connection has so many calls under way at once.
            let mut connections = Vec::new();
            for _ in 0..4 {
                connections.push(wire(&running).await);
            }
            let silent: Vec<_> = connections
                .iter()
                .flat_map(|connection| std::iter::repeat_n(connection.clone(), 25))
                .map(|connection| async move {
                    let (_keep, requests) = tokio::sync::mpsc::channel::<hallmark_api::agent::AttestAgentRequest>(1);
                    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
                    let stream = AgentClient::new(connection.channel())
                        .attest_agent(requests)
                        .await
                        .unwrap();
                    (stream, _keep)
                })
                .collect();
            let silent = futures_util::future::join_all(silent).await;
            assert!(
                attest(&wire(&running).await, &machine).await.is_ok(),
                "who says nothing takes no place"
            );

            // Strangers with a good claim (an EK certificate is no secret) who never answer: far more than there are places.
            let connection = wire(&running).await;
            let mut unanswered = Vec::new();
            for _ in 0..30 {
                unanswered.push(open(&connection, &machine.claim()).await.unwrap());
            }
            assert!(
                attest(&wire(&running).await, &machine).await.is_ok(),
                "who waits for its TPM takes no place"
            );
            let (mut late, challenge) = unanswered.pop().unwrap();
            let proof = machine.prove(&challenge, connection.exporter());
            assert!(
                late.prove(&proof_message(&proof)).await.is_ok(),
                "and finds one when it is done"
            );
            drop((unanswered, silent));
            lab.stop(running).await;
        },
    );
}

#[test]
fn an_oversized_message_is_refused_before_it_is_read() {
    isolated(
        "attestation::an_oversized_message_is_refused_before_it_is_read",
        async |lab| {
            let running = lab.start().await;
            let connection = wire(&running).await;
            let machine = SoftwareMachine::new(&lab.vendor);
            let mut attempt = connection
                .attest("tpm2", vec![0; 300 * 1024].into(), "x".into())
                .await
                .unwrap();
            let refused = attempt.challenge().await.unwrap_err();
            assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
            assert!(attest(&connection, &machine).await.is_ok());
            lab.stop(running).await;
        },
    );
}

#[test]
fn an_svid_that_expires_on_an_open_connection_is_refused_there() {
    isolated(
        "attestation::an_svid_that_expires_on_an_open_connection_is_refused_there",
        async |lab| {
            let (clock, hand) = Clock::movable();
            let running = lab.try_start(clock).await.unwrap();
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let agent = connected(&running, &mut machine, svid).await;
            post(&agent, "1").await.unwrap();
            hand.set(3601).await;
            assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentExpired);
            lab.stop(running).await;
        },
    );
}

#[test]
fn other_streams_than_the_protocols_are_refused() {
    isolated(
        "attestation::other_streams_than_the_protocols_are_refused",
        async |lab| {
            let running = lab.start().await;
            let connection = wire(&running).await;
            let machine = SoftwareMachine::new(&lab.vendor);
            for kind in ["join_token", "x509pop", "", "TPM2"] {
                let mut attempt = connection.attest(kind, "x".into(), "x".into()).await.unwrap();
                let refused = attempt.challenge().await.unwrap_err();
                assert!(refused.message().contains("HM-SRV-0112"), "{kind}: {refused}");
            }
            let (claim, _) = claim_message(&machine.claim());
            let mut without_csr = connection
                .attest("tpm2", claim.encode_to_vec().into(), "".into())
                .await
                .unwrap();
            assert_eq!(without_csr.challenge().await.unwrap_err().code(), Code::InvalidArgument);
            let (attempt, _) = open(&connection, &machine.claim()).await.unwrap();
            drop(attempt);
            assert!(attest(&connection, &machine).await.is_ok());
            lab.stop(running).await;
        },
    );
}
