//! What is sent, when, and what ends a stream (Workload API, sections 4 and 5).

use std::time::{Duration, SystemTime};

use hallmark_api::workload::X509BundlesRequest;
use hallmark_reason::Coded as _;
use hallmark_spiffe::{TrustDomain, x509};
use tonic::Code;

use super::lab::*;

#[tokio::test]
async fn the_first_message_is_whole_and_verifies() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1), authority.entry("b", 2)]);
    let mut stream = svids(&mut lab.client().await).await.unwrap();
    let message = next(&mut stream).await.unwrap();
    assert_eq!(ids(&message), ["a", "b"]);
    let domain = TrustDomain::parse("example.org").unwrap();
    for svid in &message.svids {
        let id = x509::verify_chain(&[&svid.x509_svid], &[&svid.bundle], &domain, SystemTime::now()).unwrap();
        assert_eq!(id.to_string(), svid.spiffe_id);
        let key = rcgen::KeyPair::try_from(&svid.x509_svid_key[..]).expect("unencrypted PKCS#8");
        let point = rcgen::PublicKeyData::der_bytes(&key).to_vec();
        assert!(
            svid.x509_svid.windows(point.len()).any(|window| window == point),
            "the key is the SVID's"
        );
        assert_eq!(svid.hint, "");
    }
    assert!(message.crl.is_empty() && message.federated_bundles.is_empty());
    let mut again = svids(&mut lab.client().await).await.unwrap();
    assert_eq!(
        next(&mut again).await.unwrap(),
        message,
        "a new stream gets the same cached SVIDs"
    );
}

#[tokio::test]
async fn only_a_change_is_sent_and_always_the_whole_state() {
    let lab = Lab::start(|_| vec![]);
    let authority = &lab.authority;
    let mut entries = vec![
        authority.entry("c", 1),
        authority.entry("a", 2),
        authority.entry("b", 3),
    ];
    lab.publish(entries.clone());
    let mut stream = svids(&mut lab.client().await).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(ids(&first), ["c", "a", "b"], "by age, not by name");

    lab.publish(entries.clone());
    let mut other = authority.entry("other", 4);
    other.selectors = ["unix:uid:54321".parse().unwrap()].into();
    entries.push(other);
    lab.publish(entries.clone());
    silence(&mut stream).await;

    entries[1] = authority.entry("a", 2);
    lab.publish(entries.clone());
    let second = next(&mut stream).await.unwrap();
    assert_eq!(ids(&second), ["c", "a", "b"]);
    assert_eq!((&second.svids[0], &second.svids[2]), (&first.svids[0], &first.svids[2]));
    assert_ne!(second.svids[1], first.svids[1]);

    entries.remove(0);
    lab.publish(entries);
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["a", "b"]);
}

/// A client with gRPC's usual limit reads every answer: the oldest entries' SVIDs, as many as fit.
#[tokio::test]
async fn what_does_not_fit_a_message_is_left_out_youngest_first() {
    let lab = Lab::start(|_| Vec::new());
    let whole = lab.authority.entry("x", 1);
    let large = |n: u32| {
        let mut entry = whole.clone();
        entry.spiffe_id = format!("spiffe://example.org/{n}").parse().unwrap();
        entry.created_at = n.into();
        entry.x509.as_mut().unwrap().chain = vec![0; 49_000].into();
        entry
    };
    lab.publish((0..80).map(large).collect());
    let mut client = lab.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().svids.len(), 80);
    assert!(lab.usage.cuts.lately().is_none(), "the control");

    lab.publish((0..100).map(large).collect());
    let message = next(&mut stream).await.unwrap();
    let (given, size) = (message.svids.len(), prost::Message::encoded_len(&message));
    let expected: Vec<String> = (0..given).map(|n| n.to_string()).collect();
    assert_eq!(ids(&message), expected);
    assert!(size <= 4 << 20 && size + 50_000 > 4 << 20, "{size}");
    let cut = lab.usage.cuts.lately().unwrap();
    let words = format!("a workload was given the {given} oldest of its 100 SVIDs: all of them do not fit a message");
    assert_eq!((cut.to_string(), cut.code().as_str()), (words, "HM-AGENT-0035"));
    assert_eq!(lab.usage.cuts.count.get(), 1);
}

#[tokio::test]
async fn losing_the_last_identity_ends_both_streams_with_permission_denied() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    let mut client = lab.client().await;
    let mut identities = svids(&mut client).await.unwrap();
    next(&mut identities).await.unwrap();
    let mut bundles = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    next(&mut bundles).await.unwrap();
    lab.publish(vec![]);
    for status in [
        next(&mut identities).await.map(drop).unwrap_err(),
        next(&mut bundles).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "no identity issued")
        );
    }
}

#[tokio::test]
async fn bundles_are_the_own_trust_domains_and_follow_its_changes() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    let mut client = lab.client().await;
    let mut stream = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(first.bundles.len(), 1);
    assert_eq!(first.bundles["spiffe://example.org"], lab.authority.der);

    lab.publish(vec![lab.authority.entry("a", 1)]);
    silence(&mut stream).await;

    let mut two = snapshot(&lab.authority, vec![lab.authority.entry("a", 1)]);
    two.bundle = [&lab.authority.der[..], &Authority::new().der[..]].concat().into();
    lab.publisher.publish(two.clone());
    assert_eq!(
        next(&mut stream).await.unwrap().bundles["spiffe://example.org"],
        two.bundle
    );
    let mut identities = svids(&mut client).await.unwrap();
    assert_eq!(
        next(&mut identities).await.unwrap().svids[0].bundle,
        two.bundle,
        "two roots in rotation"
    );
}

#[tokio::test]
async fn the_oldest_entry_keeps_a_hint() {
    let lab = Lab::start(|authority| {
        let mut entries = vec![
            authority.entry("a", 1),
            authority.entry("b", 2),
            authority.entry("c", 3),
        ];
        entries[0].hint = "web".into();
        entries[1].hint = "web".into();
        entries[2].hint = "db".into();
        entries
    });
    let mut stream = svids(&mut lab.client().await).await.unwrap();
    let message = next(&mut stream).await.unwrap();
    assert_eq!(
        message.svids.iter().map(|svid| &*svid.hint).collect::<Vec<_>>(),
        ["web", "", "db"]
    );
}

#[tokio::test]
async fn a_call_waits_for_the_first_svid_of_its_entry() {
    let lab = Lab::start(|authority| {
        let mut waiting = authority.entry("a", 1);
        waiting.x509 = None;
        vec![waiting]
    });
    let mut client = lab.client().await;
    let call = tokio::spawn(async move { svids(&mut client).await });
    // Real time: an answer would have come by now; nothing tells that a call waits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!call.is_finished());
    lab.publish(vec![lab.authority.entry("a", 1)]);
    let mut stream = call.await.unwrap().unwrap();
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["a"]);
}

#[tokio::test]
async fn an_expired_svid_is_not_served() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1), authority.entry("b", 2)]);
    let mut entries = vec![lab.authority.entry("a", 1), lab.authority.entry("b", 2)];
    let short = Duration::from_millis(300);
    entries[0].x509 = Some(lab.authority.issue("spiffe://example.org/a", short));
    lab.publish(entries);
    let mut client = lab.client().await;
    assert_eq!(
        ids(&next(&mut svids(&mut client).await.unwrap()).await.unwrap()),
        ["a", "b"]
    );
    // Real time: the agent goes by the system's clock.
    tokio::time::sleep(short).await;
    assert_eq!(ids(&next(&mut svids(&mut client).await.unwrap()).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_stopping_agent_ends_its_streams() {
    let mut lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    let mut stream = svids(&mut lab.client().await).await.unwrap();
    next(&mut stream).await.unwrap();
    lab.stop().await;
    assert!(next(&mut stream).await.is_err());
    assert!(!lab.socket().exists());
}
