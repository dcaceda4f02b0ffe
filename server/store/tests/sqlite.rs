//! The SQLite adapter keeps the promises of the port.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

mod conformance;

use hallmark_store::{SqliteOptions, SqliteStore};

async fn fresh() -> (SqliteStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("server.db"), conformance::trust_domain());
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&options))
        .await
        .unwrap()
        .unwrap();
    (store, dir)
}

conformance!(fresh);
