//! A store that an older version wrote is brought up to date, and says the same as before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use conformance::trust_domain;
use hallmark_state::{Authority, AuthorityState, NodeState};
use hallmark_store::{SqliteOptions, SqliteStore, Store as _, StoreError};

const VERSION_1: &str = include_str!("../src/sqlite/0001.sql");
const VERSION_2: &str = include_str!("../src/sqlite/0002.sql");
const VERSION_3: &str = include_str!("../src/sqlite/0003.sql");
const VERSION_4: &str = include_str!("../src/sqlite/0004.sql");
const VERSION_5: &str = include_str!("../src/sqlite/0005.sql");
const VERSION_6: &str = include_str!("../src/sqlite/0006.sql");
const VERSION_7: &str = include_str!("../src/sqlite/0007.sql");
const VERSION_8: &str = include_str!("../src/sqlite/0008.sql");
const VERSION_9: &str = include_str!("../src/sqlite/0009.sql");

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_the_first_version_stays_a_ban() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch(VERSION_1).unwrap();
    // The letters HMRK.
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 1")
        .unwrap();
    for (name, banned) in [("a", 0), ("b", 1)] {
        raw.execute(
            "INSERT INTO agents (id, attestation_type, ak_name, selectors, banned, can_reattest, agent_version, facts, \
             attested_at) VALUES (?1, 'tpm2', x'00', '[]', ?2, 1, '', '{}', 77)",
            rusqlite::params![format!("spiffe://example.org/spire/agent/tpm2/{name}"), banned],
        )
        .unwrap();
    }
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let nodes = store.load().await.unwrap().nodes;
    let found: Vec<_> = nodes
        .iter()
        .map(|node| (node.state, node.since, node.approvals.all().len()))
        .collect();
    assert_eq!(found, [(NodeState::Active, 77, 0), (NodeState::Banned, 77, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_the_third_version_send_their_ima_list_anew_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    for version in [VERSION_1, VERSION_2, VERSION_3] {
        raw.execute_batch(version).unwrap();
    }
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 3")
        .unwrap();
    let facts = [
        r#"{"boot":{"a":1},"ima":{"lines":2,"files":[{"l":1}]}}"#,
        r#"{"boot":null,"ima":null}"#,
    ];
    for (name, facts) in ["a", "b"].iter().zip(facts) {
        let node = format!("spiffe://example.org/spire/agent/tpm2/{name}");
        raw.execute(
            "INSERT INTO evidence VALUES (?1, 7, '{}', '{}', ?2, '{}', 'replay', ?3)",
            rusqlite::params![node, facts, if *name == "a" { facts } else { "" }],
        )
        .unwrap();
        raw.execute(
            "INSERT INTO evidence_logs VALUES (?1, 1, 0, x'01'), (?1, 3, 0, x'0203')",
            [&node],
        )
        .unwrap();
    }
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let held = store.load().await.unwrap().held;
    let found: Vec<_> = held
        .iter()
        .map(|held| (held.ima.as_str(), held.lengths.as_slice()))
        .collect();
    assert_eq!(found, [("", &[(1, 1)][..]), ("replay", &[(1, 1)][..])]);
    let kept = store.evidence(&held[0].node).await.unwrap().unwrap();
    assert_eq!(
        (kept.facts.as_str(), kept.earlier.as_str()),
        (r#"{"boot":{"a":1},"ima":null}"#, r#"{"boot":{"a":1},"ima":null}"#)
    );
    let kept = store.evidence(&held[1].node).await.unwrap().unwrap();
    assert_eq!((kept.facts.as_str(), kept.earlier.as_str()), (facts[1], ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_the_fifth_version_believed_are_kept_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    for version in [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5] {
        raw.execute_batch(version).unwrap();
    }
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 5")
        .unwrap();
    let ek = |byte: &str| byte.repeat(32);
    for (name, byte, certificate, evidence) in [
        (
            "a",
            "0a",
            r#"{"model":"m"}"#,
            r#"{"ek_certificate":"MAA=","ek_chain":["MAE=","MAI="]}"#,
        ),
        ("b", "0b", r#"{"model":"m"}"#, r#"{"ek_certificate":"MAA="}"#),
        // Not believed: the inventory vouched for the EK. And none.
        ("c", "0c", "null", r#"{"ek_certificate":"MAA="}"#),
        ("d", "0d", "null", "{}"),
    ] {
        let facts = format!(
            r#"{{"tpm":{{"ek_sha256":"{}","certificate":{certificate}}}}}"#,
            ek(byte)
        );
        raw.execute(
            "INSERT INTO evidence (node, judged_at, sighting, file, facts, ima, earlier) VALUES (?1, 7, '{}', ?2, ?3, '', '')",
            rusqlite::params![format!("spiffe://example.org/spire/agent/tpm2/{name}"), evidence, facts],
        )
        .unwrap();
    }
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let kept = store.ek_certificates(None, 10).await.unwrap();
    let found: Vec<_> = kept.iter().map(|it| (it.ek_sha256, it.certificate.as_str())).collect();
    let expected = [
        ([0x0a; 32], r#"{"certificate":"MAA=","intermediates":["MAE=","MAI="]}"#),
        ([0x0b; 32], r#"{"certificate":"MAA=","intermediates":[]}"#),
    ];
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nodes_of_the_sixth_version_proved_are_kept_and_who_is_out_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    for version in [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6] {
        raw.execute_batch(version).unwrap();
    }
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 6")
        .unwrap();
    let name = |byte: u8| [&[0x00, 0x0b][..], &[byte; 32]].concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The second and the third are one TPM, of which one is banned; the last has attested with no AK yet.
    for (ek, ak, state, at) in [
        (1_u8, name(0xa1), "active", 5),
        (2, name(0xa2), "active", 9),
        (3, name(0xa2), "banned", 1),
        (4, Vec::new(), "pre-registered", 0),
    ] {
        let facts = format!(r#"{{"ek_name":"{}"}}"#, hex(&name(0xe0 + ek)));
        raw.execute(
            "INSERT INTO agents (id, attestation_type, ek_sha256, ak_name, selectors, state, can_reattest, \
             agent_version, facts, attested_at) VALUES (?1, 'tpm2', ?2, ?3, '[]', ?4, 1, '', ?5, ?6)",
            rusqlite::params![
                format!("spiffe://example.org/spire/agent/tpm2/{}", hex(&[ek; 32])),
                [ek; 32],
                ak,
                state,
                if ak.is_empty() { "" } else { &facts },
                at
            ],
        )
        .unwrap();
    }
    raw.execute(
        "INSERT INTO inventory VALUES (?1, '', '', '{}', NULL, NULL, NULL, NULL)",
        [hex(&[1; 32])],
    )
    .unwrap();
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let loaded = store.load().await.unwrap();
    let mut found: Vec<_> = loaded
        .tpm_names
        .iter()
        .map(|it| (it.name.to_string(), it.ek_sha256))
        .collect();
    found.sort();
    let expected = [(0xa1, 1), (0xa2, 3), (0xe1, 1), (0xe2, 2), (0xe3, 3)];
    assert_eq!(found, expected.map(|(byte, ek)| (hex(&name(byte)), [ek; 32])));
    assert!(loaded.machine_eks.is_empty() && loaded.inventory[0].other_eks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_of_the_eighth_version_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    for version in [
        VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8,
    ] {
        raw.execute_batch(version).unwrap();
    }
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 8")
        .unwrap();
    raw.execute_batch("INSERT INTO authorities VALUES ('key', x'3001', 77, 'active')")
        .unwrap();
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let kept = Authority {
        upstream: Vec::new(),
        label: "key".into(),
        certificate: vec![0x30, 1],
        created_at: 77,
        state: AuthorityState::Active,
    };
    assert_eq!(store.load().await.unwrap().authorities, [kept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_ninth_version_lead_to_roles_where_operators_alone_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    for version in [
        VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9,
    ] {
        raw.execute_batch(version).unwrap();
    }
    raw.execute_batch("PRAGMA application_id = 1213026891; PRAGMA user_version = 9")
        .unwrap();
    let admin = "spiffe://example.org/ops through spiffe://example.org/spire/agent/tpm2/aa";
    let expected = [
        ("a", vec![("created", "uid:0")], false),
        ("b", vec![("created", "uid:0"), ("updated", "local")], false),
        ("c", vec![("created", admin)], true),
        ("d", vec![("created", "uid:0"), ("updated", admin)], true),
        ("e", vec![("created", admin), ("updated", "uid:0")], true),
        // Nothing is known of it but a change.
        ("f", vec![("updated", "uid:0")], true),
        ("g", vec![], true),
    ];
    for (name, writes, _) in &expected {
        raw.execute(
            "INSERT INTO entries (id, spiffe_id, parent_id, selectors, x509_svid_ttl, jwt_svid_ttl, federates_with, admin, \
             downstream, dns_names, revision, store_svid, hint, created_at, disable_x509_svid_prefetch, \
             jwt_svid_include_jti) VALUES (?1, 'spiffe://example.org/' || ?1, 'spiffe://example.org/node', \
             '[[\"unix\",\"uid:0\"]]', 0, 0, '[]', 0, 0, '[]', 0, 0, '', 1, 0, 0)",
            [name],
        )
        .unwrap();
        for (act, by) in writes {
            let reason = r#"\"by\":\"uid:0\" \"act\":\"entry-created\""#;
            let detail = format!(r#"{{"act":"entry-{act}","by":"{by}","reason":"{reason}"}}"#);
            raw.execute(
                "INSERT INTO records (at, kind, subject, outcome, code, detail) VALUES (1, 4, ?1, 7, '', ?2)",
                [*name, &detail],
            )
            .unwrap();
        }
    }
    drop(raw);
    let options = SqliteOptions::new(&file, trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    let mut entries = store.load().await.unwrap().entries;
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let found: Vec<_> = entries.iter().map(|it| (it.id.as_str(), it.over_tls)).collect();
    let expected: Vec<_> = expected.iter().map(|(name, _, over_tls)| (*name, *over_tls)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_the_eleventh_version_have_no_changes_and_are_told_as_such() {
    use conformance::{accepted, create, happened, plain_entry, transaction};
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(options_file(&folder), trust_domain());
    let store = SqliteStore::open(&options).unwrap();
    for _ in 0..3 {
        store.commit(happened(vec![accepted("a")])).await.unwrap();
    }
    // The control: of a store that began with this version every record is whole.
    assert_eq!(store.records_after(0, 10).await.unwrap().len(), 3);
    drop(store);
    let raw = rusqlite::Connection::open(options_file(&folder)).unwrap();
    raw.execute_batch(
        "DROP TABLE upstream_bundle; ALTER TABLE authority_certificates DROP COLUMN upstream; DROP TABLE published_jwt_keys; DROP TABLE jwt_keys; DROP TABLE image_assignments; DROP INDEX journal_of_installations; DROP TABLE bodies; ALTER TABLE evidence DROP COLUMN sha256; DELETE FROM meta WHERE key = 'whole_after'; \
         PRAGMA user_version = 11",
    )
    .unwrap();
    drop(raw);
    for _ in 0..2 {
        let store = SqliteStore::open(&options).unwrap();
        for after in 0..3 {
            let cut = StoreError::Cut { after, begins: 3 };
            assert_eq!(store.records_after(after, 10).await.unwrap_err(), cut);
        }
        let last = store.statistics().revision;
        let entry = create(plain_entry(&format!("e{last}"), 1));
        store
            .commit(transaction(vec![entry], vec![accepted("a")]))
            .await
            .unwrap();
        let new = store.records_after(last, 10).await.unwrap();
        assert_eq!((new.len(), new[0].transaction.changes.len()), (1, 1));
        // From the last record of before on, none is missing.
        assert_eq!(
            store.records_after(3, 10).await.unwrap().len(),
            usize::try_from(last - 2).unwrap()
        );
    }
}

fn options_file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("server.db")
}
