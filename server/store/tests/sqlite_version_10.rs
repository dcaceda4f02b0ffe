//! A store that version 10 of the schema has filled (fixtures/README.md) says the same as before, once it has a journal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use conformance::{accepted, all_events, happened, state_of, trust_domain};
use hallmark_node::{InventoryItem, TpmClass};
use hallmark_spiffe::Selector;
use hallmark_state::{Appraised, Entry, Node, NodeState, NodeSvid, Outcome, RecordFilter, RecordKind, RecordQuery};
use hallmark_store::{INTERRUPTED, SqliteOptions, SqliteStore, Store};
use rusqlite::{Connection, types::Value};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-10.db");

const ENTRIES: &str = "SELECT id, spiffe_id, parent_id, selectors, x509_svid_ttl, jwt_svid_ttl, federates_with, admin, \
    downstream, expires_at, dns_names, revision, store_svid, hint, created_at, disable_x509_svid_prefetch, \
    jwt_svid_include_jti, over_tls FROM entries ORDER BY created_at, id";
const NODES: &str = "SELECT id, attestation_type, ek_sha256, ak_name, serial, expires_at, next_serial, next_expires_at, \
    selectors, state, can_reattest, agent_version, facts, attested_at, since, approvals, distrust FROM agents ORDER BY id";
const INVENTORY: &str = "SELECT ek, serial, owner, labels, expires_at, class, manufacturer, model, other_eks FROM inventory \
    ORDER BY ek";
const POLICY_FILES: &str =
    "SELECT kind, name, serial, payload, signed, applied_at, in_force FROM policy_files ORDER BY kind, name";
const EVIDENCE: &str = "SELECT node, judged_at, sighting, file, facts, ima, earlier FROM evidence ORDER BY node";
const LOGS: &str = "SELECT node, kind, position, data FROM evidence_logs ORDER BY node, kind, position";
const EK_CERTIFICATES: &str = "SELECT ek, certificate FROM ek_certificates ORDER BY ek";
const NAMES: &str = "SELECT name, ek FROM tpm_names ORDER BY name";
const MACHINES: &str = "SELECT machine, ek FROM machine_eks ORDER BY machine, ek";
const AUTHORITIES: &str = "SELECT label, certificate, created_at, state FROM authority_certificates \
    ORDER BY created_at, label, certificate";
const ROLE_SVIDS: &str = "SELECT serial, agent, issued_at, expires_at FROM role_svids ORDER BY serial";
const RECORDS: &str = "SELECT sequence, at, kind, subject, outcome, code, detail FROM records ORDER BY sequence";
const TOTALS: &str = "SELECT kind, outcome, count FROM totals ORDER BY kind, outcome";
const BUNDLE: &str = "SELECT value FROM meta WHERE key = 'bundle_sequence'";

type Rows = Vec<Vec<Value>>;

fn dump(file: &Path, sql: &str) -> Rows {
    let raw = Connection::open(file).unwrap();
    let mut statement = raw.prepare(sql).unwrap();
    let columns = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

struct Copied {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn copied() -> Copied {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    std::fs::copy(FIXTURE, &file).unwrap();
    Copied { _folder: folder, file }
}

fn open(file: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain())).unwrap()
}

fn text(text: impl ToString) -> Value {
    Value::Text(text.to_string())
}

fn flag(flag: bool) -> Value {
    Value::Integer(i64::from(flag))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &impl serde::Serialize) -> Value {
    text(serde_json::to_string(value).unwrap())
}

fn selectors<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Value {
    json(
        &selectors
            .into_iter()
            .map(|it| (it.kind(), it.value()))
            .collect::<Vec<_>>(),
    )
}

fn entry_row(it: &Entry) -> Vec<Value> {
    let seconds = |ttl: std::time::Duration| Value::Integer(i64::try_from(ttl.as_secs()).unwrap());
    vec![
        text(&it.id),
        text(&it.spiffe_id),
        text(&it.parent_id),
        selectors(&it.selectors),
        seconds(it.x509_svid_ttl),
        seconds(it.jwt_svid_ttl),
        json(&it.federates_with.iter().map(ToString::to_string).collect::<Vec<_>>()),
        flag(it.admin),
        flag(it.downstream),
        it.expires_at.into(),
        json(&it.dns_names),
        it.revision.into(),
        flag(it.store_svid),
        text(&it.hint),
        it.created_at.into(),
        flag(it.disable_x509_svid_prefetch),
        flag(it.jwt_svid_include_jti),
        flag(it.over_tls),
    ]
}

fn node_row(it: &Node) -> Vec<Value> {
    let serial = |svid: Option<NodeSvid>| svid.map(|svid| svid.serial.to_be_bytes().to_vec()).into();
    let expiry = |svid: Option<NodeSvid>| svid.map(|svid| svid.expires_at).into();
    let approvals = it.approvals.all().iter();
    let approvals: Vec<_> = approvals.map(|yes| (yes.uid, hex(&yes.ek_sha256), yes.at)).collect();
    vec![
        text(&it.id),
        text(&it.attestation_type),
        it.ek_sha256.map(|ek| ek.to_vec()).into(),
        it.ak_name.clone().into(),
        serial(it.current),
        expiry(it.current),
        serial(it.next),
        expiry(it.next),
        selectors(&it.selectors),
        text(it.state),
        flag(it.can_reattest),
        text(&it.agent_version),
        text(&it.facts),
        it.attested_at.into(),
        it.since.into(),
        json(&approvals),
        text(&it.untrusted_reason),
    ]
}

fn line_row(it: &InventoryItem) -> Vec<Value> {
    vec![
        text(it.ek),
        text(&it.serial),
        text(&it.owner),
        json(&it.labels),
        it.expires.into(),
        it.class.map(TpmClass::as_str).map(str::to_owned).into(),
        it.manufacturer.as_ref().map(ToString::to_string).into(),
        it.model.as_ref().map(ToString::to_string).into(),
        json(&it.other_eks.iter().map(ToString::to_string).collect::<Vec<_>>()),
    ]
}

fn number(number: impl TryInto<i64, Error: std::fmt::Debug>) -> Value {
    Value::Integer(number.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_nodes_and_inventory_are_as_before() {
    let Copied { _folder, file } = copied();
    let [entries, nodes, inventory] = [ENTRIES, NODES, INVENTORY].map(|sql| dump(&file, sql));
    let store = open(&file);
    let loaded = store.load().await.unwrap();
    assert_eq!(
        loaded.entries.iter().map(|entry| entry_row(entry)).collect::<Rows>(),
        entries
    );
    assert_eq!(loaded.nodes.iter().map(|node| node_row(node)).collect::<Rows>(), nodes);
    // Nobody knows by which rules they were judged: they are judged again.
    assert!(loaded.nodes.iter().all(|node| node.appraised == Appraised::default()));
    assert_eq!(loaded.inventory.iter().map(line_row).collect::<Rows>(), inventory);
    // All of it makes a state.
    let state = state_of(&store).await;
    assert_eq!(
        (state.nodes().count(), state.entries().len()),
        (nodes.len(), entries.len())
    );
    let banned = loaded
        .nodes
        .iter()
        .find(|node| node.state == NodeState::Banned)
        .unwrap();
    assert!(state.attestation(&banned.id).is_some() && state.active_authority().is_some());
    assert_eq!(state.listed_with(&[0xa1; 32]), [hex(&[0xa2; 32])].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_machines_are_as_before() {
    let Copied { _folder, file } = copied();
    let [names, machines] = [NAMES, MACHINES].map(|sql| dump(&file, sql));
    let loaded = open(&file).load().await.unwrap();
    let name_row = |it: &hallmark_state::TpmName| vec![text(&it.name), text(hex(&it.ek_sha256))];
    let found: BTreeSet<String> = loaded
        .tpm_names
        .iter()
        .map(|it| format!("{:?}", name_row(it)))
        .collect();
    assert_eq!(found, names.iter().map(|row| format!("{row:?}")).collect());
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in machines {
        let (Value::Text(machine), Value::Text(ek)) = (&row[0], &row[1]) else {
            panic!("{row:?}");
        };
        expected.entry(machine.clone()).or_default().insert(ek.clone());
    }
    let found = loaded
        .machine_eks
        .iter()
        .map(|eks| eks.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
    assert_eq!(found.collect::<Vec<_>>(), expected.into_values().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_authorities_and_totals_are_as_before() {
    let Copied { _folder, file } = copied();
    let [files, authorities, totals, bundle] = [POLICY_FILES, AUTHORITIES, TOTALS, BUNDLE].map(|sql| dump(&file, sql));
    let loaded = open(&file).load().await.unwrap();
    let file_row = |it: &hallmark_state::PolicyFile| {
        vec![
            text(&it.kind),
            text(&it.name),
            number(it.serial),
            it.payload.clone().into(),
            text(&it.signed),
            it.applied_at.into(),
            flag(it.in_force),
        ]
    };
    assert_eq!(loaded.policy_files.iter().map(file_row).collect::<Rows>(), files);
    let authority_row = |it: &hallmark_state::Authority| {
        let state = text(it.state.as_str());
        vec![
            text(&it.label),
            it.certificate.clone().into(),
            it.created_at.into(),
            state,
        ]
    };
    assert_eq!(
        loaded.authorities.iter().map(authority_row).collect::<Rows>(),
        authorities
    );
    assert_eq!(vec![vec![text(loaded.bundle_sequence)]], bundle);
    assert!(loaded.bundle_sequence > 0 && loaded.requests.is_empty() && loaded.rules_revision == 0);
    // Beside those of before, the two SVIDs that nobody knows of.
    let found = loaded
        .totals
        .iter()
        .filter(|total| total.outcome != Outcome::Interrupted);
    let total_row =
        |it: &hallmark_state::Total| vec![it.kind.number().into(), it.outcome.number().into(), number(it.count)];
    assert_eq!(found.map(total_row).collect::<Rows>(), totals);
    assert_eq!(loaded.interrupted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_logs_and_certificates_are_as_before() {
    let Copied { _folder, file } = copied();
    let [evidence, logs, certificates, roles] =
        [EVIDENCE, LOGS, EK_CERTIFICATES, ROLE_SVIDS].map(|sql| dump(&file, sql));
    let store = open(&file);
    let held = store.load().await.unwrap().held;
    let (mut found, mut found_logs) = (Rows::new(), Rows::new());
    for it in &held {
        assert_eq!(it.revision, 0, "older than the journal");
        let kept = store.evidence(&it.node).await.unwrap().unwrap();
        found.push(vec![
            text(&kept.node),
            kept.judged_at.into(),
            text(&kept.runs),
            text(&kept.file),
            text(&kept.facts),
            text(&kept.ima),
            text(&kept.earlier),
        ]);
        let mut lengths = Vec::new();
        for (kind, log) in store.logs(&it.node, &[1, 2, 3, 128]).await.unwrap() {
            if !log.is_empty() {
                lengths.push((kind, u64::try_from(log.len()).unwrap()));
                found_logs.push(vec![text(&it.node), number(kind), Value::Integer(0), log.into()]);
            }
        }
        assert_eq!(it.lengths, lengths);
    }
    assert_eq!(found, evidence);
    assert_eq!(found_logs, logs);
    let facts = store.facts(None, 100).await.unwrap();
    let facts: Vec<_> = facts
        .iter()
        .map(|it| (text(&it.node), text(&it.facts), it.revision))
        .collect();
    let expected: Vec<_> = evidence.iter().map(|row| (row[0].clone(), row[4].clone(), 0)).collect();
    assert_eq!(facts, expected);
    let kept = store.ek_certificates(None, 100).await.unwrap();
    let kept: Rows = kept
        .iter()
        .map(|it| vec![text(hex(&it.ek_sha256)), text(&it.certificate)])
        .collect();
    assert_eq!(kept, certificates);
    for row in &roles {
        let Value::Blob(serial) = &row[0] else {
            panic!("{row:?}")
        };
        let serial = u128::from_be_bytes(serial.as_slice().try_into().unwrap());
        let found = store.role_svid(serial).await.unwrap().unwrap();
        assert_eq!([text(&found.agent), found.issued_at.into()], row[1..3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_as_before() {
    let Copied { _folder, file } = copied();
    let before = dump(&file, RECORDS);
    let store = open(&file);
    let record_row = |it: &hallmark_state::StoredRecord| {
        let record = &it.record;
        vec![
            number(it.sequence),
            record.at.into(),
            record.kind.number().into(),
            text(&record.subject),
            record.outcome.number().into(),
            text(&record.code),
            text(&record.detail),
        ]
    };
    let mut found = all_events(&store).await;
    let interrupted = found.pop().unwrap();
    assert_eq!(found.iter().map(record_row).collect::<Rows>(), before);
    // The intents that had no outcome have one now.
    let last = found.last().unwrap().sequence;
    assert_eq!(interrupted.sequence, last + 1);
    let record = &interrupted.record;
    assert_eq!(
        (record.outcome, record.code.as_str()),
        (Outcome::Interrupted, INTERRUPTED.as_str())
    );
    assert_eq!(record.detail, format!(r#"{{"first":{},"last":{last}}}"#, last - 1));
    // They are found by what they are about.
    let of = |filter, subject: Option<&str>| RecordQuery {
        limit: 1000,
        filter,
        subject: subject.map(str::to_owned),
        ..Default::default()
    };
    let numbers = |kinds: &[i64], subject: Option<&str>| {
        let is_asked = |row: &&Vec<Value>| {
            let kind = kinds.iter().any(|kind| row[2] == Value::Integer(*kind));
            kind && subject.is_none_or(|subject| row[3] == text(subject))
        };
        before
            .iter()
            .filter(is_asked)
            .map(|row| row[0].clone())
            .collect::<Vec<_>>()
    };
    for (filter, kinds, subject) in [
        (RecordFilter::Verdicts, &[1][..], None),
        (RecordFilter::Admin, &[4], None),
        (RecordFilter::Admin, &[4], Some("web")),
        (RecordFilter::All, &[1, 2, 3, 4], Some("spiffe://example.org/web")),
    ] {
        let found = store.records(of(filter, subject)).await.unwrap();
        let found: Vec<Value> = found.iter().map(|it| number(it.sequence)).collect();
        assert!(!found.is_empty());
        assert_eq!(found, numbers(kinds, subject), "{filter:?} {subject:?}");
    }
    // What happens next follows.
    let committed = store.commit(happened(vec![accepted("next")])).await.unwrap();
    assert_eq!(committed.events.unwrap().first, last + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opening_changes_nothing() {
    let Copied { _folder, file } = copied();
    let old = dump(&file, RECORDS).len();
    drop(open(&file));
    let first = std::fs::read(&file).unwrap();
    for _ in 0..2 {
        let store = open(&file);
        assert_eq!(store.load().await.unwrap().interrupted, 0);
        assert_eq!(all_events(&store).await.len(), old + 1);
        drop(store);
        assert!(std::fs::read(&file).unwrap() == first, "the file changed");
    }
    let left = dump(
        &file,
        "SELECT name FROM sqlite_schema WHERE name IN ('records', 'totals', 'pending_intents')",
    );
    assert!(left.is_empty(), "{left:?}");
}

/// The fixture has what it is to have: otherwise the tests above show nothing.
#[test]
fn the_fixture_has_some_of_everything() {
    let file = Path::new(FIXTURE);
    let count = |sql: &str| {
        let copied = copied();
        let rows = dump(&copied.file, &format!("SELECT count(*) FROM {sql}"));
        rows[0][0].clone()
    };
    assert!(file.metadata().unwrap().len() < 400_000);
    let version = dump(&copied().file, "PRAGMA user_version");
    assert_eq!(version, [[Value::Integer(10)]]);
    for (sql, least) in [
        ("entries WHERE over_tls = 1", 1),
        ("entries WHERE revision > 0 AND over_tls = 0", 1),
        ("records WHERE detail LIKE '%entry-deleted%'", 1),
        ("agents WHERE state = 'active' AND distrust = ''", 2),
        ("agents WHERE state = 'active' AND distrust <> ''", 1),
        ("agents WHERE state = 'banned'", 1),
        ("agents WHERE state = 'suspended'", 1),
        ("agents WHERE state = 'retired'", 1),
        ("evidence", 5),
        ("evidence WHERE earlier <> ''", 1),
        ("evidence_logs", 10),
        ("inventory WHERE other_eks <> '[]'", 1),
        ("inventory WHERE ek LIKE '000b%'", 1),
        ("policy_files WHERE kind = 'policy' AND in_force = 1", 1),
        ("policy_files WHERE kind = 'policy' AND in_force = 0", 1),
        ("policy_files WHERE kind = 'baseline'", 2),
        ("records WHERE kind = 1 AND outcome = 2", 5),
        ("records WHERE kind = 3 AND outcome = 4", 5),
        ("pending_intents", 1),
        ("role_svids", 1),
        ("ek_certificates", 5),
        ("tpm_names", 10),
    ] {
        let Value::Integer(found) = count(sql) else {
            panic!("{sql}")
        };
        assert!(found >= least, "{sql}: {found}");
    }
    let kinds = [
        RecordKind::Verdict,
        RecordKind::SvidIntent,
        RecordKind::SvidOutcome,
        RecordKind::Admin,
    ];
    for kind in kinds {
        assert_ne!(
            count(&format!("records WHERE kind = {}", kind.number())),
            Value::Integer(0)
        );
    }
}
