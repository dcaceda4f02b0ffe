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
    // Not even the node is known from it: it might have been banned.
    (
        "UPDATE agents SET id = 'nobody', state = 'nowhere'",
        "row nobody of the table agents",
    ),
    (
        "UPDATE agents SET id = replace(id, 'example.org', 'other.test'), state = 'nowhere'",
        "of the table agents",
    ),
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
    ("UPDATE jwt_keys SET state = 'x'", "row kid1 of the table jwt_keys"),
    (
        "UPDATE published_jwt_keys SET agent = 'x'",
        "row below1 of the table published_jwt_keys",
    ),
    (
        "UPDATE authority_certificates SET upstream = x'ff'",
        "row key2 of the table authority_certificates",
    ),
    (
        "UPDATE upstream_bundle SET content = x'ff'",
        "row 1 of the table upstream_bundle",
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

/// What is damaged in a row of a node, that of a banned one or of one in service.
const NODE_DAMAGE: &[&str] = &[
    "appraised_rules = -1",
    "ek_sha256 = x'00'",
    "serial = x'00', expires_at = 1",
    "agent_version = CAST(x'ff' AS TEXT)",
    "state = 'nowhere'",
    "selectors = '{'",
    "approvals = CAST(x'ff' AS TEXT)",
];

/// A row of a node that is damaged costs its node alone, which counts as banned until an operator says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_row_does_not_read_back_counts_as_banned_and_keeps_nobody_out() {
    use hallmark_state::{Node, NodeState};
    let put = |ek: u8, state| {
        let id = hallmark_node::NodeId::new(&trust_domain(), &[ek; 32]).unwrap();
        let node = Node {
            id: id.into_spiffe_id(),
            ek_sha256: Some([ek; 32]),
            state,
            appraised: Default::default(),
            ..conformance::node("/spire/agent/tpm2/x")
        };
        (node.id.clone(), Change::PutNode(std::sync::Arc::new(node)))
    };
    for (state, kept) in [
        (NodeState::Active, NodeState::Banned),
        (NodeState::Banned, NodeState::Banned),
        (NodeState::Retired, NodeState::Retired),
    ] {
        for set in NODE_DAMAGE {
            let place = place();
            let store = open(&place.file).unwrap();
            let ((bad, put_bad), (good, put_good)) = (put(1, state), put(2, NodeState::Active));
            store.commit(changed(vec![put_bad.clone(), put_good])).await.unwrap();
            assert_eq!(store.load().await.unwrap().damaged_nodes, Vec::new(), "the control");
            drop(store);
            change(
                &place.file,
                &format!("UPDATE agents SET {set} WHERE id = '{}'", bad.as_str()),
            );
            let store = open(&place.file).unwrap();
            let loaded = store.load().await.unwrap();
            let node = |id| loaded.nodes.iter().find(|node| node.id == id).unwrap();
            let kept = if set.contains("nowhere") {
                NodeState::Banned
            } else {
                kept
            };
            assert_eq!(
                (node(bad.clone()).state, node(good).state),
                (kept, NodeState::Active),
                "{set}"
            );
            let held = node(bad.clone());
            assert_eq!(
                (held.current, held.next, held.ek_sha256),
                (None, None, Some([1; 32])),
                "{set}"
            );
            assert_eq!(held.untrusted_reason, hallmark_store::NODE_ROW_DAMAGED.as_str());
            let damaged: Vec<_> = loaded.damaged_nodes.iter().map(|it| it.id.clone()).collect();
            assert_eq!(damaged, [bad], "{set}");
            let verified = SqliteStore::verify(&SqliteOptions::new(&place.file, trust_domain()));
            let told = format!("{:?}", verified.unwrap().unwrap().differences);
            assert!(told.contains("of the table agents"), "{set}: {told}");
            // Written anew it is like any other.
            store.commit(changed(vec![put_bad])).await.unwrap();
            let loaded = store.load().await.unwrap();
            assert_eq!((loaded.damaged_nodes.len(), loaded.nodes.len()), (0, 2), "{set}");
        }
    }
}

/// What hides behind a row that does not read back: doctor goes on to the others, and names each.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_read_back_keeps_no_other_from_being_looked_at() {
    const OTHERS: &[&str] = &[
        "UPDATE bodies SET body = x'00'",
        "DELETE FROM bodies",
        "UPDATE agents SET state = 'nowhere'",
        "UPDATE evidence SET facts = '{'",
        "UPDATE evidence SET sighting = '{'",
        "UPDATE machine_eks SET machine = CAST(x'ff' AS TEXT)",
        "UPDATE meta SET value = 'x' WHERE key = 'rules'",
        "UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'bundle_sequence'",
        "UPDATE journal SET totals = CAST(x'ff' AS TEXT) WHERE revision = 3",
        "UPDATE event_subjects SET subject = CAST(x'ff' AS TEXT)",
    ];
    for sql in OTHERS {
        let place = place();
        let store = open(&place.file).unwrap();
        a_change_of_each_kind_is_taken(&store).await;
        drop(store);
        let verify = || {
            SqliteStore::verify(&SqliteOptions::new(&place.file, trust_domain()))
                .unwrap()
                .unwrap()
        };
        assert_eq!(verify().differences, Vec::new(), "the control");
        change(&place.file, sql);
        let alone = verify().differences;
        assert!(!alone.is_empty(), "{sql}");
        let about_roles = |it: &StoreError| it.to_string().contains("of the table role_svids");
        assert!(!alone.iter().any(about_roles), "{sql}: {alone:?}");
        // In the table that is looked at next to last.
        change(&place.file, "UPDATE role_svids SET issued_at = issued_at + 1");
        let both = verify().differences;
        assert!(both.iter().any(about_roles), "{sql}: {both:?}");
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

/// What doctor refuses of the journal the server does not tell: another form of the same events, and a row that was written over.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_journal_that_was_changed_is_told_by_nobody() {
    let place = place();
    let store = open(&place.file).unwrap();
    for name in ["one", "two", "three", "four"] {
        store.commit(happened(vec![accepted(name)])).await.unwrap();
    }
    // Behind the mark up to which a start reads.
    store.commit(changed(vec![Change::PutBundleSequence(1)])).await.unwrap();
    let query = RecordQuery {
        limit: 100,
        ..RecordQuery::default()
    };
    assert_eq!(store.records(query.clone()).await.unwrap().len(), 4, "the control");
    drop(store);
    let raw = Connection::open(&place.file).unwrap();
    raw.execute("INSERT INTO meta VALUES ('settled_event', '5')", [])
        .unwrap();
    let payload = |row: u64| -> Vec<u8> {
        let sql = "SELECT payload FROM journal WHERE revision = ?1";
        raw.query_row(sql, [row], |row| row.get(0)).unwrap()
    };
    let put = |payload: &[u8], chain: Option<Vec<u8>>| {
        let sql = "UPDATE journal SET payload = ?1, chain = coalesce(?2, chain) WHERE revision = 2";
        raw.execute(sql, rusqlite::params![payload, chain]).unwrap();
    };
    let own = payload(2);
    // Field 9 of no message: who reads events alone would pass over it. Once with the chain hash of these bytes.
    let other_form = [&own[..], &[0x48, 1]].concat();
    let sql = "SELECT chain FROM journal WHERE revision = 1";
    let before: Vec<u8> = raw.query_row(sql, [], |row| row.get(0)).unwrap();
    let bytes = [&before[..], &2_u64.to_be_bytes(), &other_form].concat();
    let chain = hallmark_state::journal::sha256(&bytes).to_vec();
    // The third event in the place of the second: well formed, and not what was written.
    let another = payload(3);
    for (payload, chain) in [(&other_form, None), (&other_form, Some(chain)), (&another, None)] {
        put(payload, chain);
        let refused = SqliteStore::verify(&SqliteOptions::new(&place.file, trust_domain())).unwrap_err();
        assert_eq!(refused.code().as_str(), "HM-STORE-0006", "{refused:?}");
        let store = open(&place.file).unwrap();
        let error = store.records(query.clone()).await.unwrap_err();
        assert_eq!(error.code().as_str(), "HM-STORE-0035", "{error:?}");
        assert!(error.to_string().contains("row 2 of the journal"), "{error}");
        drop(store);
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
