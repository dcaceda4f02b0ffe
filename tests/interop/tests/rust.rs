//! The Rust crate `spiffe`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use hallmark_interop::WorkloadAgent;
use spiffe::{TrustDomain, WorkloadApiClient, WorkloadApiError, X509Source};

fn domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn svids_bundles_hints_and_their_order() {
    let mut agent = WorkloadAgent::start().unwrap();
    agent.add_root().unwrap();
    agent
        .publish([agent.entry("web", 1).unwrap(), agent.entry("api", 2).unwrap()])
        .unwrap();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let context = client.fetch_x509_context().await.unwrap();
    let told: Vec<_> = context
        .svids()
        .iter()
        .map(|svid| (svid.spiffe_id().to_string(), svid.hint()))
        .collect();
    assert_eq!(
        told,
        [
            ("spiffe://example.org/web".into(), Some("web")),
            ("spiffe://example.org/api".into(), Some("api"))
        ]
    );
    assert_eq!(context.default_svid().unwrap().spiffe_id().path(), "/web");
    let bundles = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(
        (bundles.len(), bundles.get(&domain()).unwrap().authorities().len()),
        (1, 2)
    );
    let again = client.fetch_x509_svid().await.unwrap();
    assert_eq!(
        again.leaf().as_bytes(),
        context.default_svid().unwrap().leaf().as_bytes(),
        "the same cached SVID"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_the_identity_of_its_binary() {
    let agent = WorkloadAgent::start_with_binaries().unwrap();
    let ours = agent.entry_for("web", &std::env::current_exe().unwrap()).unwrap();
    let other = agent.entry_for("other", "/bin/sleep".as_ref()).unwrap();
    agent.publish([ours, other]).unwrap();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    for _ in 0..3 {
        let context = client.fetch_x509_context().await.unwrap();
        let told: Vec<_> = context.svids().iter().map(|svid| svid.spiffe_id().path()).collect();
        assert_eq!(told, ["/web"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_understood() {
    let agent = WorkloadAgent::start().unwrap();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let starting = client.fetch_x509_context().await.unwrap_err();
    assert!(
        !matches!(starting, WorkloadApiError::NoIdentityIssued),
        "not ready is no verdict: {starting}"
    );
    agent.publish([]).unwrap();
    assert!(matches!(
        client.fetch_x509_context().await,
        Err(WorkloadApiError::NoIdentityIssued)
    ));
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    assert!(client.fetch_x509_context().await.is_ok());
    let jwt = client.fetch_jwt_svid(&["audience"], None).await.unwrap_err();
    // Tokens are asked of the server, and this agent has none.
    assert!(jwt.to_string().contains("there is no JWT-SVID now"), "{jwt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_follows_rotation() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let source = X509Source::builder().endpoint(agent.endpoint()).build().await.unwrap();
    let first = source.svid().unwrap();
    let mut updates = source.updated();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    tokio::time::timeout(Duration::from_secs(5), updates.changed())
        .await
        .unwrap()
        .unwrap();
    let second = source.svid().unwrap();
    assert_eq!(first.spiffe_id(), second.spiffe_id());
    assert_ne!(first.leaf().as_bytes(), second.leaf().as_bytes());
}
