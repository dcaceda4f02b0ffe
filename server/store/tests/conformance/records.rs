//! Events, as operators read them.

use std::time::Duration;

use hallmark_node::EkId;
use hallmark_state::{
    Change, Event, InstallAct, Outcome, RecordFilter, RecordKind, RecordQuery, StoredRecord, Transaction, What,
};
use hallmark_store::{Store, StoreError};

use super::{
    AT, accepted, all_events, changed, happened, image_assignment, intents, outcome, spiffe_id, transaction, verdict,
};

pub(crate) async fn events_are_numbered_in_order(store: &impl Store) {
    let first = store.commit(happened(vec![accepted("a")])).await.unwrap();
    let next = store
        .commit(happened(vec![accepted("b"), accepted("c")]))
        .await
        .unwrap();
    let range = |committed: &hallmark_state::Committed| committed.events.map(|events| (events.first, events.last));
    assert_eq!((first.revision, range(&first)), (1, Some((1, 1))));
    assert_eq!((next.revision, range(&next)), (2, Some((2, 3))));
    // A record without events takes no number of an event; what says nothing is no record.
    let none = store.commit(changed(vec![Change::PutBundleSequence(1)])).await.unwrap();
    assert_eq!((none.revision, range(&none)), (3, None));
    let nothing = store.commit(changed(Vec::new())).await.unwrap();
    assert_eq!((nothing.revision, range(&nothing)), (0, None));
    let last = store.commit(happened(vec![accepted("d")])).await.unwrap();
    assert_eq!((last.revision, range(&last)), (4, Some((4, 4))));
    let stored = all_events(store).await;
    let expected = StoredRecord {
        sequence: 2,
        record: accepted("b").readable(AT, super::ACTOR),
    };
    assert_eq!(stored[1], expected);
    assert_eq!(stored.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

pub(crate) async fn intents_are_one_event_each(store: &impl Store) {
    let range = store.commit(happened(intents(3))).await.unwrap().events.unwrap();
    assert_eq!(range.last - range.first, 2);
    let stored = all_events(store).await;
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
}

pub(crate) async fn svids_with_a_role_are_found_by_their_serial_number(store: &impl Store) {
    const DAY: i64 = 24 * 3600;
    let with_role = |serials: &[u128], at: i64, expires_at: i64| {
        let agent = spiffe_id("/spire/agent/tpm2/00ff");
        let put = |serial: &u128| Change::PutRoleSvid {
            serial: *serial,
            agent: agent.clone(),
            issued_at: at,
            expires_at,
        };
        transaction(serials.iter().map(put).collect(), intents(3))
    };
    let found = async |serial: u128| {
        let found = store.role_svid(serial).await.unwrap();
        found.map(|it| (it.agent.to_string(), it.issued_at))
    };
    let agent = super::ACTOR.to_owned();
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
    let (before, twice) = (all_events(store).await.len(), with_role(&[4, 3], 1062 + DAY, 9 * DAY));
    let refused = store.commit(twice).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused}");
    assert_eq!(found(4).await, None);
    assert_eq!(found(3).await, Some((agent, 1061 + DAY)));
    assert_eq!(all_events(store).await.len(), before);
}

pub(crate) async fn events_are_filtered_and_paged(store: &impl Store) {
    let range = store.commit(happened(intents(2))).await.unwrap().events.unwrap();
    let events = vec![
        outcome(range, Outcome::Issued),
        accepted("n1"),
        accepted("n2"),
        accepted("n1"),
    ];
    store.commit(happened(events)).await.unwrap();
    let query = RecordQuery {
        limit: 100,
        ..Default::default()
    };
    let sequences = async |query: RecordQuery| -> Vec<u64> {
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

pub(crate) async fn events_are_found_by_time_also_where_the_clock_was_set_back(store: &impl Store) {
    // A record a minute for some hours; in the middle the clock goes back by two hours, and on from there.
    let all: Vec<i64> = (0..300).chain(180..480).map(minute).collect();
    commit_at(store, &all).await;
    let ranges = [
        (0, 0),
        (200, 0),
        (0, 200),
        (200, 201),
        (0, 1),
        (479, 0),
        (480, 0),
        (299, 310),
    ];
    found_by_time(store, &all, &ranges).await;
}

pub(crate) async fn events_are_found_by_time_also_where_the_clock_jumped_by_days(store: &impl Store) {
    let all = times_with_jumps();
    commit_at(store, &all).await;
    found_by_time(store, &all, &AROUND_JUMPS).await;
}

/// 400 days, in minutes.
const FAR: i64 = 400 * 24 * 60;

/// Ranges of time within, between and around the jumps, in minutes.
pub(crate) const AROUND_JUMPS: [(i64, i64); 12] = [
    (0, 0),
    (70, 0),
    (0, 70),
    (200, 0),
    (0, 1),
    (100, 230),
    (FAR - 10, 0),
    (FAR - 10, FAR + 70),
    (300, FAR),
    (FAR + 99, 0),
    (-FAR, -FAR + 20),
    (-FAR + 5, 65),
];

/// The clock is ahead by 400 days for a while, twice, and then behind by as much: within groups, and between them.
pub(crate) fn times_with_jumps() -> Vec<i64> {
    let parts = [
        0..61,
        FAR + 61..FAR + 101,
        101..150,
        FAR + 150..FAR + 151,
        151..200,
        -FAR..-FAR + 33,
        233..280,
    ];
    parts.into_iter().flatten().map(minute).collect()
}

const fn minute(minute: i64) -> i64 {
    1_800_000_000 + minute * 60
}

/// Commits an event for each time, some of them at once.
pub(crate) async fn commit_at(store: &impl Store, times: &[i64]) {
    let at = |at: &i64| Transaction {
        at: *at,
        ..happened(vec![accepted("n")])
    };
    for some in times.chunks(7) {
        let commits = some.iter().map(at).map(|transaction| store.commit(transaction));
        for committed in futures_util::future::join_all(commits).await {
            committed.unwrap();
        }
    }
}

/// Queries by time give what a look at every event gives; 0 is no bound.
pub(crate) async fn found_by_time(store: &impl Store, all: &[i64], ranges: &[(i64, i64)]) {
    for (since, until) in ranges {
        let bound = |at: i64| if at == 0 { 0 } else { minute(at) };
        let (since, until) = (bound(*since), bound(*until));
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
    store.commit_later(happened(vec![accepted("a")]));
    store.commit_later(happened(vec![accepted("b")]));
    let mut stored = all_events(store).await;
    for _ in 0..200 {
        if stored.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        stored = all_events(store).await;
    }
    assert_eq!(
        stored.iter().map(|r| r.record.subject.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(store.statistics().later_failures, 0);
}

pub(crate) async fn a_check_succeeds_and_leaves_no_event(store: &impl Store) {
    store.check().await.unwrap();
    store.check().await.unwrap();
    assert!(all_events(store).await.is_empty());
}

/// An event of every kind that can be asked for.
fn some_event(n: u64) -> Event {
    let subject = ["a", "b", "spiffe://example.org/w/1"][usize::try_from(n / 5 % 3).unwrap()];
    match n % 5 {
        0 => accepted(subject),
        1 => verdict(subject, Outcome::Refused),
        3 => Event::install_step(
            subject,
            InstallAct::Written,
            &image_assignment(EkId::Spki([1; 32]), n),
            "",
        ),
        2 => Event::svid_intent(subject.into(), u128::from(n), 1_800_003_600, "e".into(), None),
        _ => Event::done(
            subject,
            What::InventoryRemoved {
                removed: vec![n.to_string()],
                reason: "why".into(),
            },
        ),
    }
}

pub(crate) async fn a_query_gives_what_a_look_at_every_event_gives(store: &impl Store) {
    // Groups of transactions, of none to five events each, a second apart.
    let mut number = 0;
    for group in 0..12_u64 {
        let transactions = (0..5_u64).map(|n| {
            let events = (0..(group + n) % 6).map(|n| some_event(group * 7 + n * 5)).collect();
            number += 1;
            Transaction {
                at: AT + number,
                ..transaction(vec![Change::PutBundleSequence(number.unsigned_abs())], events)
            }
        });
        let commits: Vec<_> = transactions.map(|transaction| store.commit(transaction)).collect();
        for committed in futures_util::future::join_all(commits).await {
            committed.unwrap();
        }
    }
    let all = all_events(store).await;
    assert!(all.len() > 100, "{}", all.len());
    let filters = [
        RecordFilter::All,
        RecordFilter::Verdicts,
        RecordFilter::Svids,
        RecordFilter::Admin,
        RecordFilter::Provision,
    ];
    let subjects = [None, Some("a"), Some("spiffe://example.org/w/1"), Some("nobody")];
    for filter in filters {
        for subject in subjects {
            for newest_first in [false, true] {
                for (since, until) in [(0, 0), (AT + 20, 0), (0, AT + 40), (AT + 20, AT + 40)] {
                    for (after, limit) in [(0, 1000), (0, 3), (60, 7), (1, 1000), (1000, 5)] {
                        let query = RecordQuery {
                            after,
                            limit,
                            filter,
                            subject: subject.map(str::to_owned),
                            newest_first,
                            since,
                            until,
                        };
                        let expected = looked_up(&all, &query);
                        assert_eq!(store.records(query.clone()).await.unwrap(), expected, "{query:?}");
                    }
                }
            }
        }
    }
}

/// What `query` asks for, by a look at every event.
fn looked_up(all: &[StoredRecord], query: &RecordQuery) -> Vec<StoredRecord> {
    let is_asked = |it: &&StoredRecord| {
        let kind = it.record.kind;
        let place = match (query.newest_first, query.after) {
            (false, after) => it.sequence > after,
            (true, 0) => true,
            (true, before) => it.sequence < before,
        };
        let is_kind = match query.filter {
            RecordFilter::Verdicts => kind == RecordKind::Verdict,
            RecordFilter::Admin => kind == RecordKind::Admin,
            RecordFilter::Provision => kind == RecordKind::Provision,
            RecordFilter::Svids => kind == RecordKind::SvidIntent || kind == RecordKind::SvidOutcome,
            _ => true,
        };
        let is_subject = query
            .subject
            .as_ref()
            .is_none_or(|subject| it.record.subject == *subject);
        let time = it.record.at;
        place && is_kind && is_subject && time >= query.since && (query.until == 0 || time < query.until)
    };
    let mut found: Vec<StoredRecord> = all.iter().filter(is_asked).cloned().collect();
    if query.newest_first {
        found.reverse();
    }
    found.truncate(usize::try_from(query.limit).unwrap());
    found
}
