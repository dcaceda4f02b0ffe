//! Entries, and what a commit promises.

use hallmark_reason::Coded as _;
use hallmark_state::{Entry, EntryId};
use hallmark_store::{Change, Outcome, RecordQuery, Store, StoreError};

use super::{full_entry, plain_entry, verdict};

fn create(entry: Entry) -> Change {
    Change::CreateEntry(Box::new(entry))
}

pub(crate) async fn a_new_store_is_empty(store: &impl Store) {
    let loaded = store.load().await.unwrap();
    assert!(loaded.entries.is_empty() && loaded.agents.is_empty() && loaded.authorities.is_empty());
    assert_eq!(
        (loaded.bundle_sequence, loaded.interrupted, loaded.totals.len()),
        (0, 0, 0)
    );
    assert!(
        store
            .records(RecordQuery {
                limit: 10,
                ..Default::default()
            })
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn entries_read_back_as_they_were_written(store: &impl Store) {
    let written = vec![plain_entry("a", 1), full_entry("b", 2)];
    store
        .commit(written.iter().cloned().map(create).collect())
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().entries, written);
}

pub(crate) async fn entries_come_in_the_order_of_creation(store: &impl Store) {
    for (id, created_at) in [("z", 1), ("b", 2), ("a", 2), ("y", 0)] {
        store.commit(vec![create(plain_entry(id, created_at))]).await.unwrap();
    }
    let ids: Vec<_> = store
        .load()
        .await
        .unwrap()
        .entries
        .iter()
        .map(|e| e.id.to_string())
        .collect();
    assert_eq!(ids, ["y", "z", "a", "b"]);
}

pub(crate) async fn an_entry_is_updated_and_deleted(store: &impl Store) {
    store
        .commit(vec![create(plain_entry("a", 1)), create(plain_entry("b", 1))])
        .await
        .unwrap();
    let new = Entry {
        revision: 1,
        ..full_entry("a", 1)
    };
    store
        .commit(vec![Change::UpdateEntry(Box::new(new.clone()))])
        .await
        .unwrap();
    store
        .commit(vec![Change::DeleteEntry(EntryId::parse("b").unwrap())])
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().entries, [new]);
}

pub(crate) async fn an_id_is_taken_once(store: &impl Store) {
    store.commit(vec![create(plain_entry("a", 1))]).await.unwrap();
    let refused = store.commit(vec![create(full_entry("a", 2))]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused}");
    assert_eq!(refused.code().as_str(), "HM-STORE-0012");
    assert_eq!(store.load().await.unwrap().entries, [plain_entry("a", 1)]);
}

pub(crate) async fn what_is_not_there_cannot_be_changed(store: &impl Store) {
    let absent = EntryId::parse("absent").unwrap();
    for change in [
        Change::UpdateEntry(Box::new(plain_entry("absent", 1))),
        Change::DeleteEntry(absent),
        Change::DeleteAgent(super::spiffe_id("/spire/agent/tpm2/absent")),
    ] {
        let refused = store.commit(vec![change]).await.unwrap_err();
        assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
        assert_eq!(refused.code().as_str(), "HM-STORE-0013");
    }
    assert!(store.load().await.unwrap().entries.is_empty());
}

pub(crate) async fn changes_are_made_all_or_none(store: &impl Store) {
    let changes = vec![
        create(plain_entry("a", 1)),
        Change::Record(verdict("x", Outcome::Accepted)),
        create(plain_entry("a", 1)),
    ];
    store.commit(changes).await.unwrap_err();
    let loaded = store.load().await.unwrap();
    assert!(loaded.entries.is_empty() && loaded.totals.is_empty());
    assert!(
        store
            .records(RecordQuery {
                limit: 10,
                ..Default::default()
            })
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn one_callers_failure_is_not_anothers(store: &impl Store) {
    store.commit(vec![create(plain_entry("taken", 1))]).await.unwrap();
    // Every other one asks for the id that is taken.
    let id = |n: usize| {
        if n.is_multiple_of(2) {
            "taken".to_owned()
        } else {
            format!("free-{n}")
        }
    };
    let commits = (0..50).map(|n| store.commit(vec![create(plain_entry(&id(n), 2))]));
    for (n, result) in futures_util::future::join_all(commits).await.into_iter().enumerate() {
        assert_eq!(result.is_err(), n.is_multiple_of(2), "{n}: {result:?}");
    }
    assert_eq!(store.load().await.unwrap().entries.len(), 26);
}
