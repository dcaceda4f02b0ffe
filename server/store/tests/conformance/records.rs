//! Records.

use std::time::Duration;

use hallmark_store::{
    Change, Outcome, RecordFilter, RecordKind, RecordQuery, RecordRange, Store, StoreError, StoredRecord, SvidOutcome,
    Total,
};

use super::{intents, verdict};

fn accepted(subject: &str) -> Change {
    Change::Record(verdict(subject, Outcome::Accepted))
}

fn outcome(intents: RecordRange, outcome: Outcome) -> Change {
    let code = if outcome == Outcome::Failed {
        "HM-HSM-0001".into()
    } else {
        String::new()
    };
    Change::SvidOutcome(SvidOutcome {
        at: 1_800_000_001,
        intents,
        outcome,
        code,
    })
}

async fn all(store: &impl Store) -> Vec<StoredRecord> {
    store
        .records(RecordQuery {
            limit: 1000,
            ..Default::default()
        })
        .await
        .unwrap()
}

pub(crate) async fn records_have_rising_sequence_numbers(store: &impl Store) {
    let first = store.commit(vec![accepted("a")]).await.unwrap().records.unwrap();
    let next = store
        .commit(vec![accepted("b"), accepted("c")])
        .await
        .unwrap()
        .records
        .unwrap();
    assert!(first.first > 0 && first.first == first.last);
    assert_eq!((next.first, next.last), (first.last + 1, first.last + 2));
    assert_eq!(store.commit(Vec::new()).await.unwrap().records, None);
    let stored = all(store).await;
    assert_eq!(
        stored[1],
        StoredRecord {
            sequence: next.first,
            record: verdict("b", Outcome::Accepted)
        }
    );
    assert_eq!(stored.len(), 3);
}

pub(crate) async fn intents_are_one_record_each(store: &impl Store) {
    let range = store
        .commit(vec![Change::SvidIntents(intents(3))])
        .await
        .unwrap()
        .records
        .unwrap();
    assert_eq!(range.last - range.first, 2);
    let stored = all(store).await;
    assert_eq!(stored.len(), 3);
    let second = &stored[1].record;
    assert_eq!(
        (second.kind, second.outcome),
        (RecordKind::SvidIntent, Outcome::Pending)
    );
    assert_eq!(second.subject, "spiffe://example.org/w/1");
    let detail: serde_json::Value = serde_json::from_str(&second.detail).unwrap();
    let expected = serde_json::json!({
        "serial": "0abd",
        "expires_at": 1_800_003_600,
        "entry": "entry-1",
        "holder": "spiffe://example.org/spire/agent/tpm2/00ff",
    });
    assert_eq!(detail, expected);
    // No intents, no record.
    assert_eq!(
        store
            .commit(vec![Change::SvidIntents(intents(0))])
            .await
            .unwrap()
            .records,
        None
    );
}

pub(crate) async fn svids_with_a_role_are_found_by_their_serial_number(store: &impl Store) {
    const DAY: i64 = 24 * 3600;
    let with_role = |serials: &[u128], at: i64, expires_at: i64| {
        let mut all = intents(3);
        all.at = at;
        for (svid, serial) in all.svids.iter_mut().zip(serials) {
            (svid.serial, svid.expires_at, svid.has_role) = (*serial, expires_at, true);
        }
        vec![Change::SvidIntents(all)]
    };
    let found = async |serial: u128| {
        store
            .role_svid(serial)
            .await
            .unwrap()
            .map(|it| (it.agent.to_string(), it.issued_at))
    };
    let agent = intents(1).holder.to_string();
    store.commit(with_role(&[1, u128::MAX], 1000, 1060)).await.unwrap();
    assert_eq!(found(1).await, Some((agent.clone(), 1000)));
    assert_eq!(found(u128::MAX).await, Some((agent.clone(), 1000)));
    assert_eq!(found(0xabe).await, None, "the third of them has no role");
    // What comes without a role forgets nothing, and neither does a clock that is ahead for a while.
    store.commit(with_role(&[], 1060 + 2 * DAY, 0)).await.unwrap();
    store.commit(with_role(&[2], 1060 + DAY, 9 * DAY)).await.unwrap();
    assert_eq!(found(1).await, Some((agent.clone(), 1000)));
    store.commit(with_role(&[3], 1061 + DAY, 9 * DAY)).await.unwrap();
    assert_eq!(found(1).await, None);
    assert_eq!(found(2).await, Some((agent.clone(), 1060 + DAY)));
    // What is refused is not noted: a serial number comes once, and what stands beside it comes with it or not.
    store.commit(with_role(&[4, 3], 1062 + DAY, 9 * DAY)).await.unwrap_err();
    assert_eq!(found(4).await, None);
    assert_eq!(found(3).await, Some((agent, 1061 + DAY)));
}

pub(crate) async fn an_outcome_settles_its_intents_once(store: &impl Store) {
    let range = store
        .commit(vec![Change::SvidIntents(intents(3))])
        .await
        .unwrap()
        .records
        .unwrap();
    let part = RecordRange {
        first: range.first,
        last: range.last - 1,
    };
    let refused = store.commit(vec![outcome(part, Outcome::Issued)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
    store.commit(vec![outcome(range, Outcome::Failed)]).await.unwrap();
    store.commit(vec![outcome(range, Outcome::Issued)]).await.unwrap_err();
    let stored = all(store).await;
    assert_eq!(stored.len(), 4);
    let last = &stored[3].record;
    assert_eq!((last.outcome, last.code.as_str()), (Outcome::Failed, "HM-HSM-0001"));
    assert_eq!(
        last.detail,
        format!(r#"{{"first":{},"last":{}}}"#, range.first, range.last)
    );
}

pub(crate) async fn totals_count_svids_and_verdicts(store: &impl Store) {
    for _ in 0..2 {
        let range = store
            .commit(vec![Change::SvidIntents(intents(5))])
            .await
            .unwrap()
            .records
            .unwrap();
        store
            .commit(vec![outcome(range, Outcome::Issued), accepted("a")])
            .await
            .unwrap();
    }
    store
        .commit(vec![Change::Record(verdict("b", Outcome::Refused))])
        .await
        .unwrap();
    let mut totals = store.load().await.unwrap().totals;
    totals.sort_by_key(|total| (total.kind, total.outcome));
    let total = |kind, outcome, count| Total { kind, outcome, count };
    let expected = [
        total(RecordKind::Verdict, Outcome::Accepted, 2),
        total(RecordKind::Verdict, Outcome::Refused, 1),
        total(RecordKind::SvidOutcome, Outcome::Issued, 10),
    ];
    assert_eq!(totals, expected);
}

pub(crate) async fn records_are_filtered_and_paged(store: &impl Store) {
    let range = store
        .commit(vec![Change::SvidIntents(intents(2))])
        .await
        .unwrap()
        .records
        .unwrap();
    let changes = vec![
        outcome(range, Outcome::Issued),
        accepted("n1"),
        accepted("n2"),
        accepted("n1"),
    ];
    store.commit(changes).await.unwrap();
    let query = RecordQuery {
        limit: 100,
        ..Default::default()
    };
    let sequences = async |query: RecordQuery| -> Vec<i64> {
        store
            .records(query)
            .await
            .unwrap()
            .iter()
            .map(|r| r.sequence - range.first)
            .collect()
    };
    let filter = |filter| RecordQuery {
        filter,
        ..query.clone()
    };
    assert_eq!(sequences(filter(RecordFilter::All)).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(sequences(filter(RecordFilter::Svids)).await, [0, 1, 2]);
    assert_eq!(sequences(filter(RecordFilter::Verdicts)).await, [3, 4, 5]);
    assert!(sequences(filter(RecordFilter::Admin)).await.is_empty());
    let of_n1 = RecordQuery {
        subject: Some("n1".into()),
        ..filter(RecordFilter::Verdicts)
    };
    assert_eq!(sequences(of_n1.clone()).await, [3, 5]);
    let newest = RecordQuery {
        limit: 1,
        newest_first: true,
        ..of_n1
    };
    assert_eq!(sequences(newest.clone()).await, [5]);
    assert_eq!(
        sequences(RecordQuery {
            after: range.first + 5,
            ..newest
        })
        .await,
        [3]
    );
    let page = RecordQuery {
        after: range.first + 1,
        limit: 2,
        ..query.clone()
    };
    assert_eq!(sequences(page).await, [2, 3]);
    let workload = RecordQuery {
        subject: Some("spiffe://example.org/w/1".into()),
        ..query
    };
    assert_eq!(sequences(workload).await, [1]);
}

pub(crate) async fn records_are_found_by_time_also_where_the_clock_was_set_back(store: &impl Store) {
    let base = 1_800_000_000;
    // A record a minute for some hours; in the middle the clock goes back by two hours, and on from there.
    let times = (0..300).chain(180..480).map(|minute| base + minute * 60);
    let at = |at| {
        let Change::Record(record) = accepted("n") else {
            unreachable!("accepted is a record")
        };
        Change::Record(hallmark_store::Record { at, ..record })
    };
    let all: Vec<i64> = times.collect();
    store.commit(all.iter().copied().map(at).collect()).await.unwrap();
    for (since, until) in [
        (0, 0),
        (200, 0),
        (0, 200),
        (200, 201),
        (0, 1),
        (479, 0),
        (480, 0),
        (299, 310),
    ] {
        let minute = |minute: i64| if minute == 0 { 0 } else { base + minute * 60 };
        let (since, until) = (minute(since), minute(until));
        for newest_first in [false, true] {
            let query = RecordQuery {
                limit: 1000,
                since,
                until,
                newest_first,
                ..Default::default()
            };
            let found = store.records(query).await.unwrap();
            let mut found: Vec<i64> = found.into_iter().map(|stored| stored.record.at).collect();
            if newest_first {
                found.reverse();
            }
            let is_asked = |at: &&i64| **at >= since && (until == 0 || **at < until);
            let expected: Vec<i64> = all.iter().filter(is_asked).copied().collect();
            assert_eq!(found, expected, "{since} {until}");
        }
    }
}

pub(crate) async fn what_is_committed_later_arrives(store: &impl Store) {
    store.commit_later(vec![accepted("a")]);
    store.commit_later(vec![accepted("b")]);
    let mut stored = all(store).await;
    for _ in 0..200 {
        if stored.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        stored = all(store).await;
    }
    assert_eq!(
        stored.iter().map(|r| r.record.subject.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(store.statistics().later_failures, 0);
}

pub(crate) async fn a_check_succeeds_and_leaves_no_record(store: &impl Store) {
    store.check().await.unwrap();
    store.check().await.unwrap();
    assert!(all(store).await.is_empty());
}
