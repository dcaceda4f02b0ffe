//! The rows of the journal are chained, and looked at when the store is opened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use std::{collections::BTreeSet, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use conformance::{
    AROUND_JUMPS, accepted, all_events, commit_at, found_by_time, happened, intents, outcome, times_with_jumps,
    trust_domain,
};
use hallmark_reason::Coded as _;
use hallmark_state::{Outcome, journal::encoding};
use hallmark_store::{SqliteOptions, SqliteStore, Store, StoreError};
use rusqlite::Connection;

fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain()))
}

/// A row: revision, number of the first event, events, chain hash, payload.
type Row = (u64, u64, u64, Vec<u8>, Vec<u8>);

fn rows(file: &Path) -> Vec<Row> {
    let raw = Connection::open(file).unwrap();
    let mut rows = raw
        .prepare("SELECT revision, first_event, events, chain, payload FROM journal ORDER BY revision")
        .unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    rows.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// Some rows, of one and of several transactions.
async fn filled(file: &Path) {
    let store = open(file).unwrap();
    for n in 0..6_u8 {
        let together = (0..=n).map(|n| store.commit(happened(vec![accepted(&n.to_string()); usize::from(n) + 1])));
        for committed in futures_util::future::join_all(together).await {
            committed.unwrap();
        }
    }
    let range = store.commit(happened(intents(2))).await.unwrap().events.unwrap();
    store
        .commit(happened(vec![outcome(range, Outcome::Issued)]))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_has_a_chain_hash_over_all_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    filled(&file).await;
    let rows = rows(&file);
    let (mut chain, mut revision, mut event) = (vec![0; 32], 0, 1);
    for (at, first_event, events, hash, payload) in &rows {
        let transactions = encoding::decode(payload, &mut |_| None).unwrap();
        chain = digest(&SHA256, &[&chain[..], &at.to_be_bytes(), payload].concat())
            .as_ref()
            .to_vec();
        assert_eq!((hash, *first_event), (&chain, event));
        revision += u64::try_from(transactions.len()).unwrap();
        event += events;
        assert_eq!(*at, revision);
    }
    let different: BTreeSet<&Vec<u8>> = rows.iter().map(|row| &row.3).collect();
    assert_eq!(different.len(), rows.len());
    assert!(
        rows.len() >= 8 && revision > 20,
        "{} rows, {revision} records",
        rows.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_changed_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    filled(&file).await;
    let before = std::fs::read(&file).unwrap();
    let third = rows(&file)[2].0;
    // A subject of the same length, so that the row still decodes.
    let other_subject =
        "UPDATE journal SET payload = CAST(replace(CAST(payload AS TEXT), '127.0.0.1', '127.0.0.2') AS BLOB)";
    for (change, reason) in [
        (
            format!("{other_subject} WHERE revision = {third}"),
            "its chain hash is another one",
        ),
        (
            format!("UPDATE journal SET chain = zeroblob(32) WHERE revision = {third}"),
            "its chain hash is another one",
        ),
        (
            format!("UPDATE journal SET payload = x'ff' WHERE revision = {third}"),
            "invalid journal bytes",
        ),
        (
            format!("UPDATE journal SET first_event = first_event + 1 WHERE revision = {third}"),
            "rows before it are missing",
        ),
        (
            format!("UPDATE journal SET events = events + 1 WHERE revision = {third}"),
            "as many events as it says",
        ),
        (
            format!("DELETE FROM journal WHERE revision = {third}"),
            "rows before it are missing",
        ),
        (
            "DELETE FROM journal WHERE revision = (SELECT min(revision) FROM journal)".into(),
            "rows before it are missing",
        ),
        (
            "UPDATE journal SET totals = '[' WHERE revision = (SELECT max(revision) FROM journal)".into(),
            "EOF",
        ),
    ] {
        std::fs::write(&file, &before).unwrap();
        Connection::open(&file).unwrap().execute_batch(&change).unwrap();
        let Err(error) = open(&file) else {
            panic!("opened after {change}");
        };
        assert_eq!(error.code().as_str(), "HM-STORE-0006", "{change}: {error:?}");
        assert!(error.compared().unwrap().contains(reason), "{change}: {error:?}");
    }
    // The control.
    std::fs::write(&file, &before).unwrap();
    let store = open(&file).unwrap();
    let events = all_events(&store).await.len();
    let committed = store.commit(happened(vec![accepted("next")])).await.unwrap();
    assert_eq!(committed.events.unwrap().first, u64::try_from(events).unwrap() + 1);
}

/// Numbers that are no numbers are told, not taken for 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_read_back_is_told() {
    for (key, value) in [("bundle_sequence", "x"), ("rules", "5"), ("rules", "5 00")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.db");
        filled(&file).await;
        let put = |value: &str| {
            let raw = Connection::open(&file).unwrap();
            raw.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])
                .unwrap();
        };
        put(value);
        let error = match open(&file) {
            Ok(store) => store.load().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code().as_str(), "HM-STORE-0011", "{error:?}");
        // The control.
        put(&if key == "rules" {
            format!("5 {}", "ab".repeat(32))
        } else {
            "7".to_owned()
        });
        open(&file).unwrap().load().await.unwrap();
    }
}

/// What is settled long ago is not read at the start; what is open is found however old it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_was_open_for_long_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let store = open(&file).unwrap();
    let mark = |file: &Path| -> Option<String> {
        let raw = Connection::open(file).unwrap();
        let sql = "SELECT max(value) FROM meta WHERE key = 'settled_event'";
        raw.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let many = || happened(vec![accepted("a"); 5000]);
    let open_intent = store.commit(happened(intents(1))).await.unwrap().events.unwrap();
    store.commit(many()).await.unwrap();
    store.commit(many()).await.unwrap();
    assert_eq!(mark(&file), None, "the first event is open");
    drop(store);
    let store = open(&file).unwrap();
    assert_eq!(store.load().await.unwrap().interrupted, 1);
    let last = all_events(&store).await.pop().unwrap();
    assert_eq!(
        last.record.detail,
        format!(r#"{{"first":{0},"last":{0}}}"#, open_intent.first)
    );
    // From here on nothing is open: the mark follows.
    store.commit(many()).await.unwrap();
    let moved: u64 = mark(&file).unwrap().parse().unwrap();
    assert_eq!(moved, last.sequence + 5001);
    let range = store.commit(happened(intents(2))).await.unwrap().events.unwrap();
    drop(store);
    let store = open(&file).unwrap();
    assert_eq!(store.load().await.unwrap().interrupted, 2);
    assert_eq!(all_events(&store).await.last().unwrap().sequence, range.last + 1);
}

/// What only a later record could have written: the journal is another one's, or was cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_ahead_of_its_journal_does_not_open() {
    let changes = [
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('settled_event', '99999')",
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('rules', '99999 ' || hex(zeroblob(32)))",
        "INSERT INTO evidence (node, judged_at, sighting, file, facts, ima, earlier, revision) \
         VALUES ('spiffe://example.org/a', 1, '{}', '{}', '{}', '', '', 99999)",
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.db");
        filled(&file).await;
        drop(open(&file).unwrap());
        Connection::open(&file).unwrap().execute_batch(change).unwrap();
        let Err(refused) = open(&file) else {
            panic!("opened after: {change}")
        };
        assert_eq!(refused.code().as_str(), "HM-STORE-0006", "{change}");
        assert!(refused.compared().unwrap().contains("beyond the end"), "{change}");
    }
}

/// A start reads the journal from the mark of settled intents on; a look at the whole of it finds what was changed before.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_journal_is_verified_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let options = SqliteOptions::new(&file, trust_domain());
    filled(&file).await;
    let all = rows(&file);
    let (last, third) = (all.last().unwrap(), all[2].0);
    let expected = |verified: hallmark_store::VerifiedJournal| {
        assert_eq!(verified.rows, u64::try_from(all.len()).unwrap());
        assert_eq!((verified.revision, &verified.chain[..]), (last.0, &last.3[..]));
    };
    expected(SqliteStore::verify(&options).unwrap().unwrap());
    let settled = last.1 + last.2;
    let raw = Connection::open(&file).unwrap();
    raw.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('settled_event', ?1)",
        [settled.to_string()],
    )
    .unwrap();
    // While a server has it open, too.
    let store = open(&file).unwrap();
    expected(SqliteStore::verify(&options).unwrap().unwrap());
    drop(store);
    let before = raw.query_row("SELECT count(*) FROM journal", [], |row| row.get::<_, u64>(0));
    assert_eq!(before.unwrap(), u64::try_from(all.len()).unwrap());
    for change in [
        format!("UPDATE journal SET chain = zeroblob(32) WHERE revision = {third}"),
        format!("DELETE FROM journal WHERE revision = {third}"),
        format!("DELETE FROM journal WHERE revision <= {third}"),
    ] {
        let copy = folder.path().join("copy.db");
        raw.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        let copied = Connection::open(&copy).unwrap();
        copied.execute_batch(&change).unwrap();
        drop(copied);
        std::fs::copy(folder.path().join("server.db.mark"), folder.path().join("copy.db.mark")).unwrap();
        // The control: a start does not see it.
        drop(open(&copy).unwrap_or_else(|error| panic!("{change}: {error:?}")));
        let found = SqliteStore::verify(&SqliteOptions::new(&copy, trust_domain())).unwrap_err();
        assert_eq!(found.code().as_str(), "HM-STORE-0006", "{change}");
        std::fs::remove_file(&copy).unwrap();
    }
}

/// A store from before the journal is told, and stays as it is.
#[test]
fn an_older_store_is_not_verified_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-10.db");
    std::fs::copy(fixture, &file).unwrap();
    let options = SqliteOptions::new(&file, trust_domain());
    assert_eq!(SqliteStore::verify(&options).unwrap(), None);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(fixture).unwrap());
    // Nor by a start that was meant for another one; sqlite_version_10.rs is the control.
    let other = SqliteOptions::new(&file, hallmark_spiffe::TrustDomain::parse("other.example").unwrap());
    let Err(refused) = SqliteStore::open(&other) else {
        panic!("another trust domain's store opened")
    };
    assert_eq!(refused.code().as_str(), "HM-STORE-0009");
    let version = Connection::open(&file)
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    assert_eq!(version.unwrap(), 10);
}

/// A store of a version before this one has no list of the places where the clock went back: they are found again.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_clock_went_back_is_found_again_at_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let all = times_with_jumps();
    let (before, after) = all.split_at(150);
    let store = open(&file).unwrap();
    commit_at(&store, before).await;
    drop(store);
    let raw = Connection::open(&file).unwrap();
    let forget = "DELETE FROM meta WHERE key = 'journal_time_runs'";
    assert_eq!(raw.execute(forget, []).unwrap(), 1, "the control: it was stored");
    drop(raw);
    let store = open(&file).unwrap();
    found_by_time(&store, before, &AROUND_JUMPS).await;
    commit_at(&store, after).await;
    found_by_time(&store, &all, &AROUND_JUMPS).await;
    drop(store);
    found_by_time(&open(&file).unwrap(), &all, &AROUND_JUMPS).await;
}
