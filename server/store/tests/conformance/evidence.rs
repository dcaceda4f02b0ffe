//! What nodes proved, and their logs.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_state::{AttestationState, Change, EkCertificate, LINES, LogPart, NewEvidence, NodeEvidence, NodeFacts};
use hallmark_store::{Store, StoreError};
use hallmark_verify::history::{AgentRuns, QuoteClock};

use super::{changed, node};

pub(crate) fn quote_clock(clock: u64, seen_at: u64) -> QuoteClock {
    QuoteClock {
        reset_count: 1,
        restart_count: 0,
        clock,
        safe: true,
        firmware_version: 7,
        seen_at,
    }
}

fn evidence(facts: &str, drops_logs: bool, logs: &[(u8, u64, &str)]) -> Change {
    let part = |(kind, offset, data): &(u8, u64, &str)| LogPart {
        kind: *kind,
        offset: *offset,
        data: data.as_bytes().to_vec(),
    };
    let clock = quote_clock(1, 2);
    let evidence = NewEvidence {
        evidence: NodeEvidence {
            node: node("/spire/agent/tpm2/a").id,
            judged_at: 7,
            runs: serde_json::to_string(&AgentRuns::resume(clock)).unwrap(),
            file: "{}".into(),
            facts: facts.into(),
            ima: String::new(),
            earlier: String::new(),
        },
        drops_logs,
        logs: logs.iter().map(part).collect(),
    };
    Change::put_evidence(
        Arc::new(evidence),
        Arc::new(AttestationState::new(
            clock,
            AgentRuns::resume(clock),
            None,
            0,
            BTreeMap::new(),
        )),
    )
}

async fn put(store: &impl Store, new: Change) -> Result<u64, StoreError> {
    store
        .commit(changed(vec![new]))
        .await
        .map(|committed| committed.revision)
}

async fn log(store: &impl Store, kind: u8) -> String {
    let node = node("/spire/agent/tpm2/a").id;
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
    let revision = put(store, evidence("5", true, &[(1, 0, "boot")])).await.unwrap();
    assert_eq!(
        (log(store, 1).await, log(store, LINES).await),
        ("boot".into(), String::new())
    );
    let kept = store.evidence(&held[0].node).await.unwrap().unwrap();
    assert_eq!((kept.facts.as_str(), kept.earlier.as_str()), ("5", "4"));
    let held = store.load().await.unwrap().held;
    assert_eq!(
        (held[0].lengths.as_slice(), held[0].revision),
        (&[(1, 4)][..], revision)
    );
}

pub(crate) async fn facts_are_replaced_and_stay_the_ones_of_their_evidence(store: &impl Store) {
    let id = node("/spire/agent/tpm2/a").id;
    let facts = |facts: &str, revision| NodeFacts {
        node: id.clone(),
        facts: facts.to_owned(),
        revision,
    };
    let new = |text| Change::put_facts(Arc::new(facts(text, 0)));
    let missing = put(store, new("none")).await.unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    let revision = put(store, evidence("1", true, &[])).await.unwrap();
    put(store, new("2")).await.unwrap();
    let expected = [facts("2", revision)];
    assert_eq!(store.facts(None, 10).await.unwrap(), expected);
    assert_eq!(
        store.facts_of(vec![id.clone(), node("/other").id]).await.unwrap(),
        expected
    );
    assert!(store.facts(Some(&id), 10).await.unwrap().is_empty());
}

pub(crate) async fn an_ek_has_the_certificate_that_was_kept_last(store: &impl Store) {
    let of = |ek: u8, certificate: &str| EkCertificate {
        ek_sha256: [ek; 32],
        certificate: certificate.into(),
    };
    let put = |new: &EkCertificate| Change::put_ek_certificate(Arc::new(new.clone()));
    let (first, second, renewed) = (of(0x0a, "1"), of(0xf1, "2"), of(0x0a, "3"));
    store.commit(changed(vec![put(&second), put(&first)])).await.unwrap();
    assert_eq!(store.ek_certificate(&[0x0a; 32]).await.unwrap(), Some(first));
    store.commit(changed(vec![put(&renewed)])).await.unwrap();
    assert_eq!(store.ek_certificate(&[0x0a; 32]).await.unwrap(), Some(renewed.clone()));
    assert_eq!(store.ek_certificate(&[0x0b; 32]).await.unwrap(), None);

    let page = |after: Option<[u8; 32]>| async move { store.ek_certificates(after.as_ref(), 1).await.unwrap() };
    assert_eq!(page(None).await, [renewed]);
    assert_eq!(page(Some([0x0a; 32])).await, [second]);
    assert!(page(Some([0xf1; 32])).await.is_empty());
}
