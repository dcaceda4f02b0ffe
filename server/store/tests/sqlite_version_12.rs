//! A store whose verdicts are in the first encoding of events (fixtures/README.md): it says the same as before, its chain
//! hashes verify, and it goes on.
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

use conformance::{accepted, all_events, happened, state_of, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_state::{Event, EventPart, StoredRecord, What, journal::encoding::decode_events};
use hallmark_store::{SqliteOptions, SqliteStore, Store as _};
use rusqlite::Connection;
use serde_json::{Value, json};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-12.db");
/// `hallmark record export` of that version.
const SHOWN: &str = include_str!("fixtures/version-12.jsonl");

struct Copied {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Copied {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.db");
        std::fs::copy(FIXTURE, &file).unwrap();
        Self { _folder: folder, file }
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions::new(&self.file, trust_domain())
    }

    /// The fixture has no mark beside it: it is opened as an operator opens a store that came without one.
    fn open(&self) -> SqliteStore {
        let store = SqliteStore::open(&self.options().accept_rollback("uid:7", "a copy")).unwrap();
        assert_eq!(store.rollback().unwrap().code().as_str(), "HM-STORE-0030");
        store
    }
}

type Row = (u64, Vec<u8>, Vec<u8>);

fn rows(file: &Path) -> Vec<Row> {
    let raw = Connection::open(file).unwrap();
    let mut statement = raw
        .prepare("SELECT revision, chain, payload FROM journal ORDER BY revision")
        .unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

fn events(rows: &[Row]) -> Vec<Event> {
    let of_row = |row: &Row| decode_events(&row.2).unwrap();
    rows.iter().flat_map(of_row).flat_map(|it| it.events).collect()
}

/// As `hallmark record export` shows it, but for the time.
fn shown(stored: &StoredRecord) -> Value {
    let record = &stored.record;
    json!({
        "sequence": stored.sequence, "kind": record.kind.as_str(), "subject": record.subject,
        "outcome": record.outcome.as_str(), "code": record.code,
        "detail": serde_json::from_str::<Value>(&record.detail).unwrap(),
    })
}

fn shown_before() -> Vec<Value> {
    let line = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("at").unwrap();
        record
    };
    SHOWN.lines().map(line).collect()
}

/// The fixture has what it is to have: otherwise the tests show nothing.
#[test]
fn the_fixture_has_verdicts_of_each_kind_in_the_first_encoding() {
    let events = events(&rows(&Copied::new().file));
    let has = |is: &dyn Fn(&What) -> bool| events.iter().any(|event| is(&event.what));
    assert!(has(&|what| matches!(
        what,
        What::Accepted { facts: EventPart::Json(json), evidence_sha256: None, .. } if json.contains("ek_sha256")
    )));
    assert!(has(&|what| matches!(
        what,
        What::Refused {
            evidence_sha256: None,
            ..
        }
    )));
    assert!(has(&|what| matches!(
        what,
        What::Reappraised { reason: Some(EventPart::Json(json)), evidence_sha256: None, .. }
            if json.contains("boot.secure_boot")
    )));
    assert!(has(&|what| matches!(what, What::Reappraised { reason: None, .. })));
    assert!(has(
        &|what| matches!(what, What::Authority { act, .. } if act == "store-rollback-accepted")
    ));
    assert!(!has(&|what| matches!(what, What::RollbackAccepted { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_shown_as_before() {
    let store = Copied::new();
    let store = store.open();
    let mut found: Vec<Value> = all_events(&store).await.iter().map(shown).collect();
    let accepted = found.pop().unwrap();
    assert_eq!(found, shown_before());
    // The roll-back that was accepted now is told as the one before, in an encoding of its own.
    let before = found
        .iter()
        .find(|record| record["detail"]["act"] == "store-rollback-accepted");
    let fields = |record: &Value| {
        let fields = record["detail"].as_object().unwrap().keys().cloned();
        (record["kind"].clone(), fields.collect::<Vec<_>>())
    };
    assert_eq!(fields(&accepted), fields(before.unwrap()));
    assert_eq!(accepted["detail"]["reason"], "a copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_chain_verifies_and_goes_on_with_typed_verdicts() {
    let copied = Copied::new();
    let before = rows(&copied.file);
    let store = copied.open();
    assert!(state_of(&store).await.nodes().count() > 0);
    store.commit(happened(vec![accepted("next")])).await.unwrap();
    drop(store);
    // Every row is decoded, with its changes and bodies, and encoded again: to the bytes that are there.
    let verified = SqliteStore::verify(&copied.options()).unwrap().unwrap();
    let after = rows(&copied.file);
    assert!(after.starts_with(&before), "a row of before changed");
    let (last, chain, _) = after.last().unwrap();
    assert_eq!((verified.revision, &verified.chain[..]), (*last, &chain[..]));
    let new = events(&after[before.len()..]);
    assert!(matches!(&new[0].what, What::RollbackAccepted { reason, .. } if reason == "a copy"));
    assert!(matches!(
        &new[1].what,
        What::Accepted {
            facts: EventPart::Typed(_),
            evidence_sha256: Some(_),
            ..
        }
    ));
    assert_eq!(new.len(), 2);
    // And a byte of an old verdict that is changed is found.
    let raw = Connection::open(&copied.file).unwrap();
    let changed = raw.execute(
        "UPDATE journal SET payload = CAST(replace(CAST(payload AS TEXT), 'firmware', 'firmwore') AS BLOB) \
         WHERE instr(payload, CAST('firmware' AS BLOB)) > 0",
        [],
    );
    assert!(changed.unwrap() > 0);
    drop(raw);
    let refused = SqliteStore::verify(&copied.options()).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-STORE-0006");
}
