//! What nodes proved, and their logs.

use hallmark_store::{Change, EkCertificate, LINES, LogPart, NewEvidence, NodeEvidence, Store, StoreError};

use super::agent;

fn evidence(facts: &str, drops_logs: bool, logs: &[(u8, u64, &str)]) -> NewEvidence {
    let part = |(kind, offset, data): &(u8, u64, &str)| LogPart {
        kind: *kind,
        offset: *offset,
        data: data.as_bytes().to_vec(),
    };
    NewEvidence {
        evidence: NodeEvidence {
            node: agent("/spire/agent/tpm2/a").id,
            judged_at: 7,
            sighting: "{}".into(),
            file: "{}".into(),
            facts: facts.into(),
            ima: String::new(),
            earlier: String::new(),
        },
        drops_logs,
        logs: logs.iter().map(part).collect(),
    }
}

async fn put(store: &impl Store, new: NewEvidence) -> Result<(), StoreError> {
    store.commit(vec![Change::PutEvidence(Box::new(new))]).await.map(|_| ())
}

async fn log(store: &impl Store, kind: u8) -> String {
    let node = agent("/spire/agent/tpm2/a").id;
    let logs = store.logs(&node, &[kind]).await.unwrap();
    assert_eq!((logs.len(), logs[0].0), (1, kind));
    String::from_utf8(logs[0].1.clone()).unwrap()
}

pub(crate) async fn logs_grow_where_they_end_and_go_with_their_boot(store: &impl Store) {
    put(store, evidence("1", true, &[(3, 0, "abc"), (LINES, 0, "x")]))
        .await
        .unwrap();
    put(store, evidence("2", false, &[(3, 3, "de"), (LINES, 1, "yz")]))
        .await
        .unwrap();
    assert_eq!(
        (log(store, 3).await, log(store, LINES).await),
        ("abcde".into(), "xyz".into())
    );
    let held = store.load().await.unwrap().held;
    assert_eq!(held[0].lengths, [(3, 5), (LINES, 3)]);

    // A gap and an overlap are refused, with everything beside them.
    for offset in [4, 6] {
        let refused = put(store, evidence("3", false, &[(LINES, 3, "!"), (3, offset, "f")])).await;
        assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
    }
    assert_eq!(
        (log(store, 3).await, log(store, LINES).await),
        ("abcde".into(), "xyz".into())
    );
    let kept = store.evidence(&held[0].node).await.unwrap().unwrap();
    assert_eq!((kept.facts.as_str(), kept.earlier.as_str()), ("2", ""));

    // One from the beginning takes the place of the log; an empty one takes it away.
    put(store, evidence("4", false, &[(LINES, 0, "new"), (3, 0, "")]))
        .await
        .unwrap();
    assert_eq!(
        (log(store, 3).await, log(store, LINES).await),
        (String::new(), "new".into())
    );
    put(store, evidence("5", true, &[(1, 0, "boot")])).await.unwrap();
    assert_eq!(
        (log(store, 1).await, log(store, LINES).await),
        ("boot".into(), String::new())
    );
    let kept = store.evidence(&held[0].node).await.unwrap().unwrap();
    assert_eq!((kept.facts.as_str(), kept.earlier.as_str()), ("5", "4"));
    assert_eq!(store.load().await.unwrap().held[0].lengths, [(1, 4)]);
}

pub(crate) async fn an_ek_has_the_certificate_that_was_kept_last(store: &impl Store) {
    let of = |ek: u8, certificate: &str| EkCertificate {
        ek_sha256: [ek; 32],
        certificate: certificate.into(),
    };
    let put = |new: &EkCertificate| Change::PutEkCertificate(Box::new(new.clone()));
    let (first, second, renewed) = (of(0x0a, "1"), of(0xf1, "2"), of(0x0a, "3"));
    store.commit(vec![put(&second), put(&first)]).await.unwrap();
    assert_eq!(store.ek_certificate(&[0x0a; 32]).await.unwrap(), Some(first));
    store.commit(vec![put(&renewed)]).await.unwrap();
    assert_eq!(store.ek_certificate(&[0x0a; 32]).await.unwrap(), Some(renewed.clone()));
    assert_eq!(store.ek_certificate(&[0x0b; 32]).await.unwrap(), None);

    let page = |after: Option<[u8; 32]>| async move { store.ek_certificates(after.as_ref(), 1).await.unwrap() };
    assert_eq!(page(None).await, [renewed]);
    assert_eq!(page(Some([0x0a; 32])).await, [second]);
    assert!(page(Some([0xf1; 32])).await.is_empty());
}
