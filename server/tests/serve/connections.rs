//! Connections: who gets in, as whom, and what for.

use std::sync::Arc;

use hallmark_api::{
    admin::{GetStatusRequest, admin_client::AdminClient},
    agent::{ListAgentsRequest, agent_client::AgentClient},
    bundle::{GetBundleRequest, bundle_client::BundleClient},
    health::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
};
use hallmark_authority::SubjectKey;
use hallmark_server::{
    clock::Clock,
    issue::{Order, OrderKey},
    run::Running,
};
use hallmark_spiffe::SpiffeId;
use hallmark_state::mint;
use hallmark_verify::testing::SoftwareKey;
use tonic::Code;

use crate::{
    client::{Client, group_name, local},
    lab::isolated,
};

pub(crate) fn bundle(running: &Running) -> hallmark_spiffe::Bundle {
    running.server.authority.load().bundle.clone()
}

/// An SVID for `path`, as an administrator would mint it.
pub(crate) async fn minted(running: &Running, path: &str) -> (Vec<Vec<u8>>, Arc<SoftwareKey>) {
    let key = SoftwareKey::svid();
    let server = &running.server;
    let id = SpiffeId::new(server.journal.trust_domain(), path).unwrap();
    let order = Order {
        grant: mint(
            server.journal.trust_domain(),
            id,
            Vec::new(),
            std::time::Duration::from_secs(600),
            std::time::Duration::MAX,
        )
        .unwrap()
        .into(),
        key: OrderKey::Proven(SubjectKey::from_spki(&key.spki()).unwrap()),
        entry: "".into(),
        has_role: false,
    };
    let svid = server.issuer.issue_one("local", &order).await.unwrap();
    (svid.chain.into_iter().map(|der| der.to_vec()).collect(), Arc::new(key))
}

#[test]
fn anyone_gets_the_bundle_and_nothing_else() {
    isolated("connections::anyone_gets_the_bundle_and_nothing_else", async |lab| {
        let running = lab.start().await;
        for client in [
            Client::anonymous(&bundle(&running)),
            Client::anonymous(&bundle(&running)).tls12(),
        ] {
            let channel = client.connect(running.address).await.unwrap();
            let got = BundleClient::new(channel.clone())
                .get_bundle(GetBundleRequest { output_mask: None })
                .await
                .unwrap();
            let got = got.into_inner();
            assert_eq!(got.trust_domain, "example.org");
            assert_eq!(got.x509_authorities[0].asn1, bundle(&running).x509_authorities[0]);
            let refused = AgentClient::new(channel.clone())
                .list_agents(ListAgentsRequest::default())
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert_eq!(
                refused.message(),
                "authorization denied for method /spire.api.server.agent.v1.Agent/ListAgents"
            );
            let absent = HealthClient::new(channel)
                .check(HealthCheckRequest::default())
                .await
                .unwrap_err();
            assert_eq!(absent.code(), Code::Unimplemented, "health is for this machine alone");
        }
        lab.stop(running).await;
    });
}

#[test]
fn the_admin_socket_serves_operators() {
    isolated("connections::the_admin_socket_serves_operators", async |lab| {
        let running = lab.start().await;
        let channel = local(&lab.admin_socket()).await;
        let mut health = HealthClient::new(channel.clone());
        let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        let request = HealthCheckRequest {
            service: "spire.api.server.agent.v1.Agent".into(),
        };
        assert_eq!(health.check(request).await.unwrap_err().code(), Code::InvalidArgument);
        let status = AdminClient::new(channel.clone())
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.address, running.address.to_string());
        assert_eq!((status.svids_issued, status.bundle_sequence), (1, 2));
        assert!(status.parts.len() == 3 && status.parts.iter().all(|part| part.ok));
        assert!(
            AgentClient::new(channel.clone())
                .list_agents(ListAgentsRequest::default())
                .await
                .is_ok()
        );
        let agents_only = hallmark_api::agent::PostStatusRequest::default();
        let refused = AgentClient::new(channel).post_status(agents_only).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "an operator is no agent");
        lab.stop(running).await;
    });
}

#[test]
fn a_certificate_that_does_not_verify_ends_the_handshake() {
    isolated(
        "connections::a_certificate_that_does_not_verify_ends_the_handshake",
        async |lab| {
            let running = lab.start().await;
            let (chain, key) = minted(&running, "/web").await;
            let get = async |client: Client| {
                let channel = client
                    .connect(running.address)
                    .await
                    .map_err(|error| error.to_string())?;
                let answer = BundleClient::new(channel)
                    .get_bundle(GetBundleRequest { output_mask: None })
                    .await;
                answer.map(drop).map_err(|status| status.to_string())
            };
            let anonymous = || Client::anonymous(&bundle(&running));
            assert_eq!(get(anonymous().with(chain.clone(), Arc::clone(&key))).await, Ok(()));
            let stolen = SoftwareKey::svid();
            assert!(
                get(anonymous().with(chain.clone(), stolen)).await.is_err(),
                "the key is another's"
            );
            let vendor = vec![lab.vendor.intermediate_der().to_vec()];
            assert!(
                get(anonymous().with(vendor, Arc::clone(&key))).await.is_err(),
                "of another authority"
            );
            let mut forged = chain;
            let last = forged[0].len() - 1;
            forged[0][last] ^= 1;
            assert!(
                get(anonymous().with(forged, key)).await.is_err(),
                "the signature is wrong"
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn the_servers_own_identity_is_replaced_at_half_of_its_life() {
    isolated(
        "connections::the_servers_own_identity_is_replaced_at_half_of_its_life",
        async |lab| {
            let (clock, hand) = Clock::movable();
            hand.set(-2400).await;
            let running = lab.try_start(clock).await.unwrap();
            let client = Client::anonymous(&bundle(&running));
            let leaf = async || {
                let stream = client.handshake(running.address).await.unwrap();
                stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
            };
            let kept = client.connect(running.address).await.unwrap();
            let first = leaf().await;
            hand.set(-1200).await;
            assert_eq!(leaf().await, first, "not before its time");
            hand.set(0).await;
            assert_ne!(leaf().await, first);
            let request = GetBundleRequest { output_mask: None };
            assert!(
                BundleClient::new(kept).get_bundle(request).await.is_ok(),
                "open connections go on"
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn no_session_is_ever_resumed() {
    isolated("connections::no_session_is_ever_resumed", async |lab| {
        let running = lab.start().await;
        let client = Client::anonymous(&bundle(&running));
        for client in [&client, &Client::anonymous(&bundle(&running)).tls12()] {
            let stream = client.handshake(running.address).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
            assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(session.tls13_tickets_received(), 0);
        }
        lab.stop(running).await;
    });
}

/// What is recorded today stays closed to a quantum computer of later.
#[test]
fn keys_are_agreed_on_by_the_hybrid_group_wherever_the_client_can() {
    isolated(
        "connections::keys_are_agreed_on_by_the_hybrid_group_wherever_the_client_can",
        async |lab| {
            let running = lab.start().await;
            for (groups, agreed) in [
                // As our own agent, and as a client that likes it least.
                (&[][..], "X25519MLKEM768"),
                (&["X25519MLKEM768"], "X25519MLKEM768"),
                // The controls: whoever cannot is let in all the same.
                (&["X25519"], "X25519"),
                (&["secp256r1"], "secp256r1"),
            ] {
                let client = Client::anonymous(&bundle(&running)).groups(groups);
                let stream = client.handshake(running.address).await.unwrap();
                let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
                assert_eq!(group_name(group), agreed, "{groups:?}");
            }
            lab.stop(running).await;
        },
    );
}
