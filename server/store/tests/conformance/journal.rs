//! The journal: numbers, conflicts, what a follower learns, and what a stopped server leaves.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use hallmark_node::{EkId, InventoryItem};
use hallmark_reason::Coded as _;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Change, Committed, EntryId, Event, EventRange, Expect, Key, Manifest, Outcome, RecordKind, Total, Transaction,
};
use hallmark_store::{INTERRUPTED, Store, StoreError};
use hallmark_tpm_wire::Name;

use super::{
    Learned, Place, accepted, all_events, changed, create, happened, intents, node, outcome, plain_entry, spiffe_id,
    transaction, verdict,
};

fn name(byte: u8) -> Name {
    Name::parse(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap()
}

/// A transaction that rests on `keys`, as they were at `revision`.
fn resting_on(revision: u64, keys: &[Key], transaction: Transaction) -> Transaction {
    let keys: BTreeSet<Key> = keys.iter().cloned().collect();
    Transaction {
        expect: Expect { revision, keys },
        ..transaction
    }
}

fn range(committed: &Committed) -> Option<(u64, u64)> {
    committed.events.map(|events| (events.first, events.last))
}

pub(crate) async fn numbers_have_no_gap_over_failures_groups_and_restarts(place: &impl Place) {
    let mut all: Vec<Committed> = Vec::new();
    for round in 0..3_u64 {
        let store = place.open();
        let learned = Learned::of(&store);
        let known = store.load().await.unwrap().revision;
        assert_eq!(known, u64::try_from(all.len()).unwrap());
        // Some ask for an id that is taken, some rest on what has changed, some have no events.
        let commits = (0..60_u64).map(|n| {
            let id = if n.is_multiple_of(5) {
                "taken".to_owned()
            } else {
                format!("e-{round}-{n}")
            };
            let events = (0..n % 4).map(|_| accepted("a")).collect();
            let new = transaction(vec![create(plain_entry(&id, 1))], events);
            let key = Key::Entry(EntryId::parse("taken").unwrap());
            let rests = if n.is_multiple_of(7) { &[key][..] } else { &[] };
            store.commit(resting_on(known, rests, new))
        });
        let results = join_all(commits).await;
        assert!(results.iter().any(Result::is_err));
        let mut done: Vec<Committed> = results.into_iter().filter_map(Result::ok).collect();
        done.sort_by_key(|committed| committed.revision);
        all.extend(done);
        let statistics = store.statistics();
        let events = all.iter().filter_map(range).map(|(first, last)| last - first + 1).sum();
        assert_eq!(
            (statistics.revision, statistics.last_event),
            (u64::try_from(all.len()).unwrap(), events)
        );
        let revisions: Vec<u64> = learned.all().iter().map(|record| record.revision).collect();
        assert_eq!(revisions, (known + 1..=statistics.revision).collect::<Vec<_>>());
    }
    let revisions: Vec<u64> = all.iter().map(|committed| committed.revision).collect();
    assert_eq!(revisions, (1..=u64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    // The events of one record follow those of the record before.
    let mut next = 1;
    for (first, last) in all.iter().filter_map(range) {
        assert_eq!(first, next);
        next = last + 1;
    }
    let stored: Vec<u64> = all_events(&place.open()).await.iter().map(|it| it.sequence).collect();
    assert_eq!(stored, (1..next).collect::<Vec<_>>());
}

/// Keys, with one change that touches each of them.
fn touched() -> Vec<(Change, Vec<Key>)> {
    let entry = plain_entry("e", 1);
    let pair = Key::EntryPair(entry.spiffe_id.clone(), entry.parent_id.clone());
    let entry_keys = vec![Key::Entry(entry.id.clone()), Key::Entries, pair];
    let node = node("/spire/agent/tpm2/a");
    let node_key = vec![Key::Node(node.id.clone())];
    let requests = vec![Key::Requests(node.id.clone())];
    let ek = EkId::Spki([1; 32]);
    let line = Arc::new(InventoryItem {
        other_eks: [EkId::Spki([2; 32])].into(),
        ..InventoryItem::new(ek)
    });
    let lines = vec![
        Key::InventoryLine(ek),
        Key::InventoryLine(EkId::Spki([2; 32])),
        Key::Inventory,
    ];
    let tpm_name = hallmark_state::TpmName {
        name: name(1),
        ek_sha256: [1; 32],
    };
    let rules = Change::put_rules(Arc::default(), Manifest::new([("rules".to_owned(), [1; 32])]));
    let first_request = hallmark_state::FirstRequest {
        id: spiffe_id("/ops"),
        agent: node.id.clone(),
        issued_at: 1,
        at: 2,
    };
    let asked = Change::PutRequests {
        node: node.id.clone(),
        action: hallmark_state::Action::Unban,
        requests: vec![first_request],
    };
    vec![
        (create(entry), entry_keys),
        (Change::PutNode(Arc::new(node)), node_key),
        (asked, requests),
        (Change::PutInventoryLine(line), lines),
        (
            Change::PutTpmName(tpm_name),
            vec![Key::TpmName(name(1)), Key::NamesOf([1; 32])],
        ),
        (
            Change::PutMachineEks([ek, EkId::Spki([2; 32])].into()),
            vec![Key::Machines],
        ),
        (rules, vec![Key::Rules]),
        (Change::PutBundleSequence(1), vec![Key::Authorities]),
    ]
}

/// Keys that no change of [`touched`] touches.
fn untouched() -> Vec<Key> {
    vec![
        Key::Entry(EntryId::parse("other").unwrap()),
        Key::EntryPair(spiffe_id("/web"), spiffe_id("/other")),
        Key::Node(spiffe_id("/spire/agent/tpm2/b")),
        Key::Requests(spiffe_id("/spire/agent/tpm2/b")),
        Key::InventoryLine(EkId::Spki([9; 32])),
        Key::TpmName(name(9)),
        Key::NamesOf([9; 32]),
        Key::PolicyFiles,
    ]
}

pub(crate) async fn a_conflict_is_told_where_a_later_record_touched_what_is_expected(store: &impl Store) {
    let changes = touched();
    let all: Vec<Key> = changes
        .iter()
        .flat_map(|(_, keys)| keys.clone())
        .chain(untouched())
        .collect();
    for (n, (change, keys)) in changes.into_iter().enumerate() {
        let before = store.statistics().revision;
        let revision = store.commit(changed(vec![change])).await.unwrap().revision;
        assert_eq!(revision, before + 1);
        for (k, key) in all.iter().enumerate() {
            let id = format!("by-{n}-{k}");
            let asked = |revision, id: &str| {
                let new = transaction(vec![Change::put_ek_certificate(certificate(id))], vec![accepted(id)]);
                resting_on(revision, std::slice::from_ref(key), new)
            };
            let events = store.statistics().last_event;
            let late = store.commit(asked(before, &id)).await;
            if keys.contains(key) {
                let error = late.unwrap_err();
                assert_eq!(error, StoreError::Conflict { key: key.clone() });
                assert_eq!(error.code().as_str(), "HM-STORE-0018");
                // Nothing of it is there.
                assert_eq!(store.statistics().last_event, events);
                assert_eq!(store.ek_certificate(&certificate(&id).ek_sha256).await.unwrap(), None);
            } else {
                late.unwrap();
            }
            // The control: whoever knew of the record is not in its way.
            store.commit(asked(revision, &id)).await.unwrap();
            assert!(
                store
                    .ek_certificate(&certificate(&id).ek_sha256)
                    .await
                    .unwrap()
                    .is_some()
            );
        }
    }
}

fn certificate(id: &str) -> Arc<hallmark_state::EkCertificate> {
    let mut ek_sha256 = [0; 32];
    ek_sha256[..id.len()].copy_from_slice(id.as_bytes());
    Arc::new(hallmark_state::EkCertificate {
        ek_sha256,
        certificate: id.to_owned(),
    })
}

fn put_node(id: &SpiffeId, version: usize) -> Change {
    let before = node("/spire/agent/tpm2/a");
    Change::PutNode(Arc::new(hallmark_state::Node {
        id: id.clone(),
        agent_version: version.to_string(),
        ..before
    }))
}

pub(crate) async fn of_decisions_on_the_same_that_come_at_once_one_is_made(store: &impl Store) {
    let learned = Learned::of(store);
    let id = spiffe_id("/spire/agent/tpm2/a");
    for _ in 0..10 {
        let known = store.statistics().revision;
        let results = join_all((0..40).map(|n| {
            let new = transaction(vec![put_node(&id, n)], vec![accepted(&n.to_string())]);
            let decided = store.commit(resting_on(known, &[Key::Node(id.clone())], new));
            async {
                let result = decided.await;
                // Whoever was refused finds in the state what was in the way.
                (result, learned.revision())
            }
        }))
        .await;
        assert_eq!(
            results[0].0.as_ref().unwrap().revision,
            known + 1,
            "the first that came"
        );
        for (result, followed) in &results[1..] {
            let refused = StoreError::Conflict {
                key: Key::Node(id.clone()),
            };
            assert_eq!(result.clone().unwrap_err(), refused);
            assert!(*followed > known);
        }
        assert_eq!(store.statistics().revision, known + 1);
        assert_eq!(store.load().await.unwrap().nodes[0].agent_version, "0");
    }
    assert_eq!(all_events(store).await.len(), 10);
    // The control: decisions on different nodes do not meet.
    let known = store.statistics().revision;
    let results = join_all((0..40).map(|n| {
        let id = spiffe_id(&format!("/spire/agent/tpm2/{n}"));
        store.commit(resting_on(
            known,
            &[Key::Node(id.clone())],
            changed(vec![put_node(&id, n)]),
        ))
    }));
    assert!(results.await.iter().all(Result::is_ok));
}

pub(crate) async fn what_rests_on_more_than_is_remembered_is_decided_again(place: &impl Place) {
    let store = place.open();
    let id = spiffe_id("/spire/agent/tpm2/a");
    let first = store.commit(changed(vec![put_node(&id, 1)])).await.unwrap().revision;
    let asked = |revision, key: Key| resting_on(revision, &[key], happened(vec![accepted("a")]));
    let other = Key::Node(spiffe_id("/spire/agent/tpm2/b"));
    // The control: nobody touched the other node.
    store.commit(asked(first, other.clone())).await.unwrap();
    // One line that names more EKs than the tail remembers keys.
    let ek = |n: u32| {
        let mut ek = [0; 32];
        ek[..4].copy_from_slice(&n.to_be_bytes());
        EkId::Spki(ek)
    };
    let line = InventoryItem {
        other_eks: (1..70_000).map(ek).collect(),
        ..InventoryItem::new(ek(0))
    };
    let many = Change::PutInventoryLine(Arc::new(line));
    let last = store.commit(changed(vec![many])).await.unwrap().revision;
    let refused = store.commit(asked(first, other.clone())).await.unwrap_err();
    assert_eq!(refused, StoreError::Conflict { key: other.clone() });
    store.commit(asked(last, other.clone())).await.unwrap();
    // What rests on nothing never meets anything; and a restart forgets everything.
    store
        .commit(resting_on(0, &[], happened(vec![accepted("a")])))
        .await
        .unwrap();
    let now = store.statistics().revision;
    drop(store);
    let store = place.open();
    store.commit(asked(now - 1, other.clone())).await.unwrap_err();
    store.commit(asked(now, other)).await.unwrap();
}

pub(crate) async fn a_transaction_is_committed_once(place: &impl Place) {
    let mut all: Vec<(Transaction, u64)> = Vec::new();
    let again = |(transaction, revision): &(Transaction, u64)| {
        let (id, revision) = (transaction.id, *revision);
        (transaction.clone(), StoreError::AlreadyCommitted { id, revision })
    };
    for round in 0..3 {
        let store = place.open();
        let learned = Learned::of(&store);
        // What was committed before the restart: told, whatever it rests on by now.
        for (transaction, told) in all.iter().map(again) {
            assert_eq!(store.commit(transaction).await, Err(told));
        }
        assert!(learned.all().is_empty(), "nothing became durable a second time");
        for n in 0..3 {
            let id = spiffe_id(&format!("/spire/agent/tpm2/{round}-{n}"));
            let revision = store.statistics().revision;
            let put = transaction(vec![put_node(&id, 1)], vec![accepted("a")]);
            let put = resting_on(revision, &[Key::Node(id)], put);
            // The same twice in one group: one of them is in.
            let mut answers = join_all([store.commit(put.clone()), store.commit(put.clone())]).await;
            answers.sort_by_key(Result::is_err);
            let committed = answers[0].clone().unwrap();
            all.push((put, committed.revision));
            let (transaction, told) = again(all.last().unwrap());
            assert_eq!(answers[1], Err(told.clone()));
            assert_eq!(store.commit(transaction).await, Err(told));
        }
        // The control: what was refused, or is another one's, is not in the journal, and may come again.
        let refused = resting_on(
            0,
            &[Key::Node(spiffe_id("/spire/agent/tpm2/0-0"))],
            happened(vec![accepted("a")]),
        );
        assert!(matches!(
            store.commit(refused.clone()).await,
            Err(StoreError::Conflict { .. })
        ));
        let now = store.statistics().revision;
        let late = resting_on(now, &[], refused);
        let committed = store.commit(late.clone()).await.unwrap();
        all.push((late, committed.revision));
        assert_eq!(learned.all().len(), 4);
    }
    assert_eq!(place.open().load().await.unwrap().revision, 12);
}

pub(crate) async fn a_follower_learns_of_every_record_once_before_its_commit_answers(place: &impl Place) {
    let store = Arc::new(place.open());
    let learned = Learned::of(&*store);
    let second = Learned::of(&*store);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (store, learned) = (Arc::clone(&store), Arc::clone(&learned));
        callers.spawn(async move {
            for n in 0..25 {
                let id = format!("e-{caller}-{n}");
                let new = transaction(vec![create(plain_entry(&id, 1))], vec![accepted(&id)]);
                let committed = store.commit(new).await.unwrap();
                assert!(learned.revision() >= committed.revision, "the commit answered before");
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    store.check().await.unwrap();
    let records = learned.all();
    let revisions: Vec<u64> = records.iter().map(|record| record.revision).collect();
    assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
    // What it learns is what is kept.
    let said = |record: &hallmark_state::Record| {
        let first = record.first_event;
        record.transaction.readable(first).collect::<Vec<_>>()
    };
    assert_eq!(
        records.iter().flat_map(said).collect::<Vec<_>>(),
        all_events(&*store).await
    );
    assert!(second.all().is_empty(), "there is one follower");
}

pub(crate) async fn an_outcome_settles_open_intents_once(place: &impl Place) {
    let store = place.open();
    let range = store.commit(happened(intents(3))).await.unwrap().events.unwrap();
    let (first, last) = (range.first, range.last);
    let of = |first, last| outcome(EventRange { first, last }, Outcome::Issued);
    let other = store.commit(happened(vec![accepted("a")])).await.unwrap();
    let revision = other.revision;
    // Beyond the intents, of what is none, backwards, everything, twice in one transaction; and what stands beside it.
    for events in [
        vec![of(first, last + 1)],
        vec![of(last + 1, last + 1)],
        vec![of(last, first)],
        vec![of(0, u64::MAX)],
        vec![of(first, first), of(first, first)],
        vec![of(first, first + 1), of(first + 1, last)],
    ] {
        let wrong = transaction(vec![create(plain_entry("beside", 1))], events.clone());
        let refused = store.commit(wrong).await.unwrap_err();
        assert!(matches!(refused, StoreError::Missing { .. }), "{events:?}: {refused}");
    }
    let loaded = store.load().await.unwrap();
    assert_eq!(
        (loaded.revision, loaded.entries.len()),
        (revision, 0),
        "nothing of it is there"
    );
    // In parts, each once.
    store.commit(happened(vec![of(first + 1, first + 1)])).await.unwrap();
    store.commit(happened(vec![of(first, last)])).await.unwrap_err();
    let failed = |n| outcome(EventRange { first: n, last: n }, Outcome::Failed);
    store
        .commit(happened(vec![failed(first), of(last, last)]))
        .await
        .unwrap();
    store.commit(happened(vec![failed(first)])).await.unwrap_err();
    let stored = all_events(&store).await;
    assert_eq!(stored.len(), 7);
    let told = &stored[5].record;
    assert_eq!(
        (told.outcome, told.code.as_str()),
        (Outcome::Failed, hallmark_store::INTERRUPTED.as_str())
    );
    assert_eq!(told.detail, format!(r#"{{"first":{first},"last":{first}}}"#));
    drop(store);
    assert_eq!(place.open().load().await.unwrap().interrupted, 0);
}

pub(crate) async fn intents_of_a_stopped_server_are_interrupted_at_the_next_start(place: &impl Place) {
    let store = place.open();
    let first = store.commit(happened(intents(5))).await.unwrap().events.unwrap();
    let second = store.commit(happened(intents(1))).await.unwrap().events.unwrap();
    let settled = EventRange {
        first: first.first + 1,
        last: first.first + 1,
    };
    store
        .commit(happened(vec![outcome(settled, Outcome::Issued)]))
        .await
        .unwrap();
    let (revision, last) = (store.statistics().revision, store.statistics().last_event);
    drop(store);
    let store = place.open();
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.interrupted, loaded.revision), (5, revision + 1));
    let stored = all_events(&store).await;
    let told: Vec<_> = stored.iter().filter(|it| it.sequence > last).collect();
    let details: Vec<&str> = told.iter().map(|it| it.record.detail.as_str()).collect();
    let range = |first: u64, last: u64| format!(r#"{{"first":{first},"last":{last}}}"#);
    // The intents of the second transaction follow those of the first.
    let expected = [range(first.first, first.first), range(first.first + 2, second.last)];
    assert_eq!(details, expected);
    for it in told {
        assert_eq!(
            (it.record.kind, it.record.outcome),
            (RecordKind::SvidOutcome, Outcome::Interrupted)
        );
        assert_eq!(it.record.code, INTERRUPTED.as_str());
    }
    // They are settled now: by nobody else, and not again.
    store
        .commit(happened(vec![outcome(second, Outcome::Issued)]))
        .await
        .unwrap_err();
    drop(store);
    let store = place.open();
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.interrupted, loaded.revision), (0, revision + 1));
}

pub(crate) async fn totals_count_svids_and_verdicts(place: &impl Place) {
    let store = place.open();
    for _ in 0..2 {
        let range = store.commit(happened(intents(5))).await.unwrap().events.unwrap();
        let events: Vec<Event> = vec![outcome(range, Outcome::Issued), accepted("a")];
        store.commit(happened(events)).await.unwrap();
    }
    store
        .commit(happened(vec![verdict("b", Outcome::Refused)]))
        .await
        .unwrap();
    store.commit(happened(intents(2))).await.unwrap();
    drop(store);
    let total = |kind, outcome, count| Total { kind, outcome, count };
    let expected = [
        total(RecordKind::Verdict, Outcome::Accepted, 2),
        total(RecordKind::Verdict, Outcome::Refused, 1),
        total(RecordKind::SvidOutcome, Outcome::Issued, 10),
        total(RecordKind::SvidOutcome, Outcome::Interrupted, 2),
    ];
    for _ in 0..2 {
        let mut totals = place.open().load().await.unwrap().totals;
        totals.sort_by_key(|total| (total.kind, total.outcome));
        assert_eq!(totals, expected);
    }
}
