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
use hallmark_registry::NodeState;
use hallmark_store::{SqliteOptions, SqliteStore, Store as _};

const VERSION_1: &str = include_str!("../src/sqlite/0001.sql");

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
    let agents = store.load().await.unwrap().agents;
    let found: Vec<_> = agents
        .iter()
        .map(|agent| (agent.state, agent.since, agent.approvals.all().len()))
        .collect();
    assert_eq!(found, [(NodeState::Active, 77, 0), (NodeState::Banned, 77, 0)]);
}
