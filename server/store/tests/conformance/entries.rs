//! Entries, and what a commit promises.

use std::sync::Arc;

use hallmark_reason::Coded as _;
use hallmark_state::{Change, Entry, Outcome};
use hallmark_store::{Store, StoreError};

use super::{all_events, changed, create, full_entry, plain_entry, spiffe_id, transaction, verdict};

pub(crate) async fn a_new_store_is_empty(store: &impl Store) {
    let loaded = store.load().await.unwrap();
    assert!(loaded.entries.is_empty() && loaded.nodes.is_empty() && loaded.authorities.is_empty());
    assert_eq!(
        (
            loaded.revision,
            loaded.bundle_sequence,
            loaded.interrupted,
            loaded.totals.len()
        ),
        (0, 0, 0, 0)
    );
    assert!(all_events(store).await.is_empty());
}

pub(crate) async fn entries_read_back_as_they_were_written(store: &impl Store) {
    let stored = Entry {
        store_svid: true,
        ..plain_entry("c", 3)
    };
    let written = vec![plain_entry("a", 1), full_entry("b", 2), stored];
    store
        .commit(changed(written.iter().cloned().map(create).collect()))
        .await
        .unwrap();
    let written: Vec<_> = written.into_iter().map(Arc::new).collect();
    assert_eq!(store.load().await.unwrap().entries, written);
}

pub(crate) async fn entries_come_in_the_order_of_creation(store: &impl Store) {
    for (id, created_at) in [("z", 1), ("b", 2), ("a", 2), ("y", 0)] {
        let change = create(plain_entry(id, created_at));
        store.commit(changed(vec![change])).await.unwrap();
    }
    let entries = store.load().await.unwrap().entries;
    let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["y", "z", "a", "b"]);
}

pub(crate) async fn an_entry_is_updated_and_deleted(store: &impl Store) {
    let (a, b) = (Arc::new(plain_entry("a", 1)), Arc::new(plain_entry("b", 1)));
    let both = [&a, &b].map(|entry| create(Entry::clone(entry)));
    store.commit(changed(both.into())).await.unwrap();
    let new = Entry {
        revision: 1,
        ..full_entry("a", 1)
    };
    let update = Change::PutEntry {
        entry: Arc::new(new.clone()),
        replaces: Some(a),
    };
    store.commit(changed(vec![update])).await.unwrap();
    store.commit(changed(vec![Change::DeleteEntry(b)])).await.unwrap();
    assert_eq!(store.load().await.unwrap().entries, [Arc::new(new)]);
}

pub(crate) async fn an_id_is_taken_once(store: &impl Store) {
    store.commit(changed(vec![create(plain_entry("a", 1))])).await.unwrap();
    let again = changed(vec![create(full_entry("a", 2))]);
    let refused = store.commit(again).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused}");
    assert_eq!(refused.code().as_str(), "HM-STORE-0012");
    assert_eq!(store.load().await.unwrap().entries, [Arc::new(plain_entry("a", 1))]);
}

pub(crate) async fn what_is_not_there_cannot_be_changed(store: &impl Store) {
    let absent = Arc::new(plain_entry("absent", 1));
    for change in [
        Change::PutEntry {
            entry: Arc::clone(&absent),
            replaces: Some(Arc::clone(&absent)),
        },
        Change::DeleteEntry(absent),
        Change::DeleteNode(spiffe_id("/spire/agent/tpm2/absent")),
        Change::PutAppraised {
            node: spiffe_id("/spire/agent/tpm2/absent"),
            appraised: hallmark_state::Appraised::default(),
        },
    ] {
        let refused = store.commit(changed(vec![change])).await.unwrap_err();
        assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
        assert_eq!(refused.code().as_str(), "HM-STORE-0013");
    }
    assert!(store.load().await.unwrap().entries.is_empty());
}

pub(crate) async fn changes_are_made_all_or_none(store: &impl Store) {
    let changes = vec![create(plain_entry("a", 1)), create(plain_entry("a", 1))];
    let events = vec![verdict("x", Outcome::Accepted)];
    store.commit(transaction(changes, events)).await.unwrap_err();
    let loaded = store.load().await.unwrap();
    assert!(loaded.entries.is_empty() && loaded.totals.is_empty());
    assert_eq!(loaded.revision, 0);
    assert!(all_events(store).await.is_empty());
}

pub(crate) async fn one_callers_failure_is_not_anothers(store: &impl Store) {
    let taken = changed(vec![create(plain_entry("taken", 1))]);
    store.commit(taken).await.unwrap();
    // Every other one asks for the id that is taken.
    let id = |n: usize| {
        if n.is_multiple_of(2) {
            "taken".to_owned()
        } else {
            format!("free-{n}")
        }
    };
    let commits = (0..50).map(|n| store.commit(changed(vec![create(plain_entry(&id(n), 2))])));
    for (n, result) in futures_util::future::join_all(commits).await.into_iter().enumerate() {
        assert_eq!(result.is_err(), n.is_multiple_of(2), "{n}: {result:?}");
    }
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.entries.len(), loaded.revision), (26, 26));
}
