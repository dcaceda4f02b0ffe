//! Attack 35: a proxy that ends TLS between a real agent and the server.

use crate::scene::{lay_out, run};
use hallmark_attacks::anonymous_client;
use hallmark_kit::{AdminClient, Lab};
use hallmark_verify::testing::VendorCa;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What the proxy shows: a certificate of its own with the server's SPIFFE ID.
fn impostor() -> ServerConfig {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/spire/server".try_into().unwrap())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Ends TLS here and begins it anew towards the server; passes every byte on.
async fn proxy(listener: TcpListener, upstream: String) {
    let acceptor = TlsAcceptor::from(Arc::new(impostor()));
    let connector = TlsConnector::from(Arc::new(anonymous_client().unwrap()));
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (acceptor, connector, upstream) = (acceptor.clone(), connector.clone(), upstream.clone());
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let server = TcpStream::connect(upstream).await?;
            let name = ServerName::try_from("server").unwrap();
            let mut server = connector.connect(name, server).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

/// Waits until the agent's log names this code.
async fn logged(lab: &mut Lab, code: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let log = lab.node(0).unwrap().log();
        if log.contains(code) {
            return log;
        }
        assert!(Instant::now() < until, "{code} is not in the agent's log:\n{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn behind_a_proxy(configure: impl FnOnce(&mut Lab), codes: &[&str], verdicts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let vendor = VendorCa::new();
    let mut lab = lay_out(folder.path(), &vendor);
    lab.build_node().unwrap();
    // The agent's own TPM has to be trusted here: nothing but the proxy is to stand in its way.
    let roots = [
        lab.ek_authority().root(),
        lab.ek_authority().issuer(),
        folder.path().join("vendor.der"),
    ];
    lab.server().trust(&roots);
    lab.start_server().unwrap();
    let upstream = lab.server().address();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = toml::Table::new();
    server.insert("address".into(), address.into());
    lab.node(0).unwrap().set("", "server", server.into());
    configure(&mut lab);
    lab.node(0).unwrap().launch().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = upstream.clone();
    runtime.block_on(async {
        tokio::spawn(proxy(TcpListener::from_std(listener).unwrap(), server));
        for code in codes {
            logged(&mut lab, code).await;
        }
        let mut admin = AdminClient::connect(&lab.server().admin_socket()).await.unwrap();
        let agents = admin
            .agent
            .list_agents(hallmark_api::agent::ListAgentsRequest::default())
            .await;
        assert!(
            agents.unwrap().into_inner().agents.is_empty(),
            "the agent got in through the proxy"
        );
    });
    // No proxy, no hindrance: the same agent with the same TPM.
    let node = lab.node(0).unwrap();
    node.stop();
    node.set("server", "address", upstream.into());
    node.start().unwrap();
    let verdicts: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    run(&mut lab, vendor, async |site| {
        let seen = site.verdicts().await;
        let mut refused: Vec<_> = seen
            .iter()
            .filter(|v| v.outcome == "refused")
            .map(|v| v.code.clone())
            .collect();
        refused.dedup();
        assert_eq!(refused, verdicts, "{seen:?}");
        assert!(seen.last().is_some_and(|v| v.outcome == "accepted"));
    });
}

#[test]
fn attack_35_an_agent_with_a_bundle_does_not_talk_to_a_proxy() {
    let with_bundle = |lab: &mut Lab| {
        let bundle = lab.bundle_file().display().to_string();
        lab.node(0).unwrap().set("server", "trust_bundle", bundle.into());
    };
    behind_a_proxy(with_bundle, &["HM-AGENT-0002"], &[]);
}

/// The agent cannot know who it talks to; but its evidence is good on its own connection only.
#[test]
fn attack_35_an_agent_without_a_bundle_is_not_attested_through_a_proxy() {
    let without_bundle = |lab: &mut Lab| {
        lab.node(0).unwrap().set("server", "insecure_bootstrap", true.into());
    };
    behind_a_proxy(without_bundle, &["HM-AGENT-0003", "HM-SRV-0105"], &["HM-VERIFY-0409"]);
}
