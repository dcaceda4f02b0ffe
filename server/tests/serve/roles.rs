//! Administrators over TLS: by which SVIDs they are known, and what a ban of their machine finds on its way.

use std::{future::pending, sync::Arc, time::Duration};

use hallmark_api::{
    agent::{BanAgentRequest, ListAgentsRequest, ListAgentsResponse, agent_client::AgentClient},
    entry::{BatchCreateEntryRequest, BatchUpdateEntryRequest, entry_client::EntryClient},
    svid::{BatchNewX509svidRequest, MintX509svidRequest, NewX509svidParams, svid_client::SvidClient},
    types::{Entry, Selector, Spiffeid, X509svid},
};
use hallmark_attacks::attest;
use hallmark_server::run::Running;
use hallmark_state::{RecordFilter, RecordQuery};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine};
use http::uri::PathAndQuery;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Code, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    attestation::{connected, wire},
    client::{Client, local},
    connections::{bundle, minted},
    lab::{Gate, Lab, isolated},
    races::much_to_sign,
};

/// A machine that was let in.
pub(crate) struct Node {
    id: Spiffeid,
    channel: Channel,
}

impl Node {
    pub(crate) async fn new(lab: &Lab, running: &Running) -> Self {
        let mut machine = SoftwareMachine::new(&lab.vendor);
        let svid = attest(&wire(running).await, &machine).await.unwrap();
        let id = svid.id.clone().unwrap();
        Self {
            channel: connected(running, &mut machine, svid).await,
            id,
        }
    }

    pub(crate) fn entry(&self, name: &str, admin: bool) -> Entry {
        Entry {
            id: name.into(),
            spiffe_id: Some(Spiffeid {
                trust_domain: "example.org".into(),
                path: format!("/{name}"),
            }),
            parent_id: Some(self.id.clone()),
            selectors: vec![Selector {
                r#type: "unix".into(),
                value: "uid:1".into(),
            }],
            admin,
            ..Default::default()
        }
    }

    /// An SVID of an entry, and its key.
    pub(crate) async fn svid(&self, entry: &str) -> (X509svid, SoftwareKey) {
        let key = SoftwareKey::svid();
        let params = vec![NewX509svidParams {
            entry_id: entry.into(),
            csr: key.csr_for(&key.spki()).into(),
        }];
        let answer = SvidClient::new(self.channel.clone())
            .batch_new_x509svid(BatchNewX509svidRequest { params })
            .await
            .unwrap();
        (answer.into_inner().results.remove(0).svid.unwrap(), key)
    }

    pub(crate) async fn workload(&self, running: &Running, entry: &str) -> Channel {
        let (svid, key) = self.svid(entry).await;
        connect(running, chain(&svid), key).await
    }

    pub(crate) async fn ban(&self, lab: &Lab) {
        self.banning(lab).await.unwrap();
    }

    fn banning(&self, lab: &Lab) -> JoinHandle<()> {
        let request = BanAgentRequest {
            id: Some(self.id.clone()),
        };
        let socket = lab.admin_socket();
        tokio::spawn(async move {
            let mut client = AgentClient::new(local(&socket).await);
            client.ban_agent(request).await.unwrap();
        })
    }
}

pub(crate) fn chain(svid: &X509svid) -> Vec<Vec<u8>> {
    svid.cert_chain.iter().map(|der| der.to_vec()).collect()
}

pub(crate) async fn connect(running: &Running, chain: Vec<Vec<u8>>, key: impl Into<Arc<SoftwareKey>>) -> Channel {
    let client = Client::anonymous(&bundle(running)).with(chain, key);
    client.connect(running.address).await.unwrap()
}

pub(crate) async fn list(channel: &Channel) -> Result<(), Status> {
    let request = ListAgentsRequest::default();
    AgentClient::new(channel.clone()).list_agents(request).await.map(drop)
}

pub(crate) async fn create(lab: &Lab, entries: Vec<Entry>) {
    let request = BatchCreateEntryRequest {
        entries,
        output_mask: None,
    };
    let mut client = EntryClient::new(local(&lab.admin_socket()).await);
    let results = client.batch_create_entry(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.status.as_ref().unwrap().code == 0));
}

fn denied(outcome: Result<(), Status>, code: &str) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(code), "{status}");
}

#[test]
fn a_role_is_held_through_an_agent_and_never_minted() {
    isolated(
        "roles::a_role_is_held_through_an_agent_and_never_minted",
        async |mut lab| {
            let admins = vec!["spiffe://example.org/operator"];
            lab.settings.insert("admin_ids".into(), admins.into());
            let running = lab.start().await;
            let node = Node::new(&lab, &running).await;
            let plain = ["operator", "web", "later"].map(|name| node.entry(name, false));
            create(&lab, plain.to_vec()).await;
            let (svid, key) = node.svid("operator").await;
            let key = Arc::new(key);
            let operator = connect(&running, chain(&svid), Arc::clone(&key)).await;
            list(&operator).await.unwrap();
            let web = list(&node.workload(&running, "web").await).await.unwrap_err();
            assert_eq!(
                web.message(),
                "authorization denied for method /spire.api.server.agent.v1.Agent/ListAgents"
            );
            let (by_hand, its_key) = minted(&running, "/operator").await;
            denied(list(&connect(&running, by_hand, its_key).await).await, "HM-SRV-0341");

            // What was issued before its id had the role is not known; what its agent fetches then is.
            let before = node.workload(&running, "later").await;
            let request = BatchUpdateEntryRequest {
                entries: vec![node.entry("later", true)],
                input_mask: None,
                output_mask: None,
            };
            let mut client = EntryClient::new(local(&lab.admin_socket()).await);
            client.batch_update_entry(request).await.unwrap();
            denied(list(&before).await, "HM-SRV-0341");
            list(&node.workload(&running, "later").await).await.unwrap();

            lab.stop(running).await;
            let running = lab.start().await;
            let again = connect(&running, chain(&svid), key).await;
            list(&again).await.unwrap();
            node.ban(&lab).await;
            denied(list(&again).await, "HM-SRV-0342");
            lab.stop(running).await;
        },
    );
}

#[test]
fn entries_that_wait_when_the_machine_is_banned_are_not_written() {
    isolated(
        "roles::entries_that_wait_when_the_machine_is_banned_are_not_written",
        async |lab| {
            let running = lab.start().await;
            for is_banned in [false, true] {
                let node = Node::new(&lab, &running).await;
                let name = if is_banned { "second" } else { "first" };
                create(&lab, vec![node.entry(name, true)]).await;
                let operator = node.workload(&running, name).await;
                list(&operator).await.unwrap();
                let request = BatchCreateEntryRequest {
                    entries: vec![node.entry(&format!("{name}-loot"), false)],
                    output_mask: None,
                };
                // What is decided first becomes durable first.
                let gate = Gate::close(&lab);
                let banning = is_banned.then(|| node.banning(&lab));
                Gate::waits(&running, u64::from(is_banned)).await;
                let attempt = tokio::spawn(async move { EntryClient::new(operator).batch_create_entry(request).await });
                Gate::waits(&running, 1 + u64::from(is_banned)).await;
                gate.open();
                if let Some(banning) = banning {
                    banning.await.unwrap();
                }
                let answer = attempt.await.unwrap();
                let is_there = running
                    .server
                    .journal
                    .state()
                    .entries()
                    .entry(format!("{name}-loot").as_str())
                    .is_some();
                assert_eq!(is_there, !is_banned);
                if is_banned {
                    denied(answer.map(drop), "HM-SRV-0342");
                } else {
                    answer.unwrap();
                }
            }
            lab.stop(running).await;
        },
    );
}

/// Whatever the moment: once a ban is answered, nothing of its machine's administrator comes after it.
#[test]
fn a_ban_is_before_or_after_what_the_administrator_does() {
    isolated(
        "roles::a_ban_is_before_or_after_what_the_administrator_does",
        async |lab| {
            let running = lab.start().await;
            for round in 0..24_u64 {
                let node = Node::new(&lab, &running).await;
                let (admin, loot) = (format!("admin-{round}"), format!("loot-{round}"));
                create(&lab, vec![node.entry(&admin, true)]).await;
                let operator = node.workload(&running, &admin).await;
                list(&operator).await.unwrap();
                let request = BatchCreateEntryRequest {
                    entries: vec![node.entry(&loot, false)],
                    output_mask: None,
                };
                let attempt = tokio::spawn(async move { EntryClient::new(operator).batch_create_entry(request).await });
                // Real time: the moment of the ban within the request is what is tried.
                tokio::time::sleep(Duration::from_micros(round * 150)).await;
                node.ban(&lab).await;
                let is_there = || running.server.journal.state().entries().entry(loot.as_str()).is_some();
                let at_the_ban = is_there();
                drop(attempt.await.unwrap());
                assert_eq!(is_there(), at_the_ban, "round {round}");
            }
            lab.stop(running).await;
        },
    );
}

#[test]
fn what_the_token_signs_while_the_machine_is_banned_is_not_handed_over() {
    isolated(
        "roles::what_the_token_signs_while_the_machine_is_banned_is_not_handed_over",
        async |lab| {
            let running = lab.start().await;
            for (name, is_banned) in [("first", false), ("second", true)] {
                let node = Node::new(&lab, &running).await;
                create(&lab, vec![node.entry(name, true)]).await;
                let operator = node.workload(&running, name).await;
                let path = format!("spiffe://example.org/loot-{name}");
                let key = SoftwareKey::ecc(0);
                let request = MintX509svidRequest {
                    csr: key.csr_naming(&path).into(),
                    ttl: 60,
                };
                let busy: Vec<_> = (0..8).map(|_| tokio::spawn(much_to_sign(&running))).collect();
                let attempt = tokio::spawn(async move { SvidClient::new(operator).mint_x509svid(request).await });
                while !is_intended(&running, &path).await {
                    assert!(!attempt.is_finished());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if is_banned {
                    node.ban(&lab).await;
                    assert!(!attempt.is_finished(), "the token was not busy for long enough");
                }
                let answer = attempt.await.unwrap();
                if is_banned {
                    denied(answer.map(drop), "HM-SRV-0342");
                } else {
                    assert!(answer.unwrap().into_inner().svid.is_some());
                }
                for busy in busy {
                    busy.await.unwrap();
                }
            }
            lab.stop(running).await;
        },
    );
}

/// Whether an SVID of this id is about to be signed.
async fn is_intended(running: &Running, id: &str) -> bool {
    let query = RecordQuery {
        filter: RecordFilter::Svids,
        limit: 50,
        newest_first: true,
        ..RecordQuery::default()
    };
    let records = running.server.journal.store().records(query).await.unwrap();
    records.iter().any(|it| it.record.subject == id)
}

/// A request whose headers were let through and whose message comes only after the ban.
#[test]
fn a_message_that_comes_after_the_ban_is_not_answered() {
    isolated(
        "roles::a_message_that_comes_after_the_ban_is_not_answered",
        async |lab| {
            let running = lab.start().await;
            let node = Node::new(&lab, &running).await;
            create(&lab, vec![node.entry("operator", true)]).await;
            let operator = node.workload(&running, "operator").await;
            for is_banned in [false, true] {
                let idle = Arc::strong_count(&running.server.journal);
                let (send, held) = oneshot::channel();
                let body = futures_util::stream::once(async {
                    match held.await {
                        Ok(()) => ListAgentsRequest::default(),
                        Err(_) => pending().await,
                    }
                });
                let mut client = Grpc::new(operator.clone());
                client.ready().await.unwrap();
                let attempt = tokio::spawn(async move {
                    let path = PathAndQuery::from_static("/spire.api.server.agent.v1.Agent/ListAgents");
                    let codec: ProstCodec<ListAgentsRequest, ListAgentsResponse> = ProstCodec::default();
                    let request = tonic::Request::new(body);
                    client.client_streaming(request, path, codec).await
                });
                while Arc::strong_count(&running.server.journal) == idle {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Real time: nothing tells that the server waits for the rest of the request.
                tokio::time::sleep(Duration::from_millis(100)).await;
                if is_banned {
                    node.ban(&lab).await;
                }
                send.send(()).unwrap();
                let answer = attempt.await.unwrap();
                if is_banned {
                    denied(answer.map(drop), "HM-SRV-0342");
                } else {
                    assert_eq!(answer.unwrap().into_inner().agents.len(), 1);
                }
            }
            lab.stop(running).await;
        },
    );
}
