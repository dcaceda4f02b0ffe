//! Rows that do not read back: which they are is told, and an entry costs itself alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use std::path::{Path, PathBuf};

use conformance::{a_change_of_each_kind_is_taken, accepted, changed, create, happened, plain_entry, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_state::{Change, RecordQuery};
use hallmark_store::{SqliteOptions, SqliteStore, Store, StoreError};
use rusqlite::Connection;

struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    Place { _folder: folder, file }
}

fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain()))
}

fn change(file: &Path, sql: &str) {
    assert!(Connection::open(file).unwrap().execute(sql, []).unwrap() > 0, "{sql}");
}

/// Numbers out of range, what is no UTF-8, blobs of another length, and what is no such value.
const DAMAGE: &[(&str, &str)] = &[
    ("UPDATE agents SET appraised_rules = -1", "of the table agents"),
    ("UPDATE agents SET ek_sha256 = x'00'", "of the table agents"),
    (
        "UPDATE agents SET serial = x'00', expires_at = 1",
        "of the table agents",
    ),
    (
        "UPDATE agents SET agent_version = CAST(x'ff' AS TEXT)",
        "of the table agents",
    ),
    ("UPDATE agents SET state = 'nowhere'", "of the table agents"),
    (
        "UPDATE inventory SET serial = CAST(x'ff' AS TEXT)",
        "of the table inventory",
    ),
    ("UPDATE tpm_names SET ek = 'x'", "of the table tpm_names"),
    (
        "UPDATE machine_eks SET machine = CAST(x'ff' AS TEXT)",
        "of the table machine_eks",
    ),
    (
        "UPDATE policy_files SET serial = -1",
        "row baseline p2 of the table policy_files",
    ),
    (
        "UPDATE authority_certificates SET state = 'x'",
        "row key2 of the table authority_certificates",
    ),
    (
        "UPDATE admin_requests SET requests = '{'",
        "of the table admin_requests",
    ),
    (
        "UPDATE image_assignments SET stage = 'nowhere'",
        "of the table image_assignments",
    ),
    (
        "UPDATE image_assignments SET manifest_sha256 = x'00'",
        "of the table image_assignments",
    ),
    (
        "UPDATE meta SET value = 'x' WHERE key = 'rules'",
        "row rules of the table meta",
    ),
    (
        "UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'bundle_sequence'",
        "row bundle_sequence of the table meta",
    ),
    (
        "UPDATE journal SET first_event = -1 WHERE revision = 14",
        "of the table journal",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_read_back_is_named_with_its_table() {
    for (sql, named) in DAMAGE {
        let place = place();
        let store = open(&place.file).unwrap();
        a_change_of_each_kind_is_taken(&store).await;
        drop(store);
        open(&place.file).unwrap().load().await.expect("the control");
        change(&place.file, sql);
        let error = match open(&place.file) {
            Ok(store) => store.load().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code().as_str(), "HM-STORE-0011", "{sql}: {error:?}");
        assert!(error.to_string().contains(named), "{sql}: {error}");
        assert!(error.compared().is_some_and(|reason| !reason.is_empty()), "{sql}");
        assert!(error.next_step().unwrap().contains("restore a backup"));
    }
}

/// A row of evidence that is damaged costs its node alone.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_whose_numbers_or_node_do_not_read_back_costs_its_node_alone() {
    for (sql, left) in [
        ("UPDATE evidence SET revision = -5", 1),
        ("UPDATE evidence SET sha256 = x'00'", 1),
        ("UPDATE evidence SET node = 'nobody'", 0),
    ] {
        let place = place();
        let store = open(&place.file).unwrap();
        a_change_of_each_kind_is_taken(&store).await;
        let held = store.load().await.unwrap().held;
        assert!(
            hallmark_state::AttestationState::read(held.first().unwrap()).is_ok(),
            "the control"
        );
        drop(store);
        change(&place.file, sql);
        let held = open(&place.file).unwrap().load().await.unwrap().held;
        let read = held
            .iter()
            .filter(|row| hallmark_state::AttestationState::read(row).is_ok());
        assert_eq!((held.len(), read.count()), (left, 0), "{sql}");
        let verified = SqliteStore::verify(&SqliteOptions::new(&place.file, trust_domain()))
            .unwrap()
            .unwrap();
        assert!(!verified.differences.is_empty(), "{sql}");
    }
}

/// What no request could have made, and what does not read back.
const FORBIDDEN: &[(&str, &str)] = &[
    ("spiffe_id = 'spiffe://example.org/spire/server'", "HM-REG-"),
    ("spiffe_id = 'spiffe://other.test/web'", "HM-REG-"),
    ("parent_id = 'spiffe://other.test/web'", "HM-REG-"),
    ("selectors = '[]'", "HM-REG-"),
    ("selectors = '{'", "expected a sequence"),
    ("x509_svid_ttl = -5", "-5"),
    ("jwt_svid_ttl = 9999999999", "9999999999"),
    ("hint = CAST(x'ff' AS TEXT)", "utf-8"),
    ("dns_names = '[\"-\"]'", "HM-REG-"),
    ("revision = 'x'", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_damaged_or_forbidden_costs_itself_alone() {
    for (set, reason) in FORBIDDEN {
        let place = place();
        let store = open(&place.file).unwrap();
        let entries = ["bad", "good"].map(|id| create(plain_entry(id, 1)));
        store.commit(changed(entries.into())).await.unwrap();
        assert_eq!(store.load().await.unwrap().left_out, Vec::new());
        drop(store);
        // Where the table itself refuses the value there is nothing to be looked at.
        let sql = format!("UPDATE entries SET {set} WHERE id = 'bad'");
        if Connection::open(&place.file).unwrap().execute(&sql, []).is_err() {
            assert_eq!(*set, "revision = 'x'");
            continue;
        }
        let store = open(&place.file).unwrap();
        let loaded = store.load().await.unwrap();
        let ids: Vec<_> = loaded.entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["good"], "{set}");
        assert_eq!(loaded.left_out.len(), 1);
        assert_eq!(loaded.left_out[0].id, "bad");
        assert!(loaded.left_out[0].reason.contains(reason), "{:?}", loaded.left_out);
        let verified = SqliteStore::verify(&SqliteOptions::new(&place.file, trust_domain()));
        let verified = verified.unwrap().unwrap();
        assert!(
            verified.left_out.contains_key("bad") && !verified.differences.is_empty(),
            "{verified:?}"
        );
        // It is written anew, as any other that is not there; one that is there is not.
        store
            .commit(changed(vec![create(plain_entry("bad", 2))]))
            .await
            .unwrap();
        let taken = store.commit(changed(vec![create(plain_entry("good", 2))])).await;
        assert_eq!(taken.unwrap_err().code().as_str(), "HM-STORE-0012");
        let loaded = store.load().await.unwrap();
        assert_eq!((loaded.entries.len(), loaded.left_out.len()), (2, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_up_to_a_row_of_the_journal_that_does_not_read_back() {
    let place = place();
    let store = open(&place.file).unwrap();
    for name in ["one", "two", "three", "four", "five"] {
        let many = vec![accepted(name), accepted(name)];
        store.commit(happened(many)).await.unwrap();
    }
    // Behind the mark up to which a start reads.
    store.commit(changed(vec![Change::PutBundleSequence(1)])).await.unwrap();
    drop(store);
    let raw = Connection::open(&place.file).unwrap();
    raw.execute("INSERT INTO meta VALUES ('settled_event', '11')", [])
        .unwrap();
    drop(raw);
    let query = |after, newest_first| RecordQuery {
        after,
        newest_first,
        limit: 100,
        ..RecordQuery::default()
    };
    let store = open(&place.file).unwrap();
    assert_eq!(store.records(query(0, false)).await.unwrap().len(), 10, "the control");
    drop(store);
    change(&place.file, "UPDATE journal SET payload = x'ffff' WHERE revision = 3");
    let store = open(&place.file).unwrap();
    for (newest_first, comes_before) in [(false, [1, 2, 3, 4]), (true, [10, 9, 8, 7])] {
        let error = store.records(query(0, newest_first)).await.unwrap_err();
        assert_eq!(error.code().as_str(), "HM-STORE-0035", "{error:?}");
        assert!(error.to_string().contains("row 3 of the journal"), "{error}");
        let next = error.next_step().unwrap();
        assert!(next.contains("--after 6") && next.contains("--before 5"), "{next}");
        let StoreError::JournalRow { before, .. } = error else {
            panic!("{error:?}")
        };
        let before: Vec<_> = before.iter().map(|event| event.sequence).collect();
        assert_eq!(before, comes_before);
    }
    assert_eq!(store.records(query(6, false)).await.unwrap().len(), 4);
    assert_eq!(store.records(query(5, true)).await.unwrap().len(), 4);
}
