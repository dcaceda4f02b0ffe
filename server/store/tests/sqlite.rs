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

/// One file.
struct File {
    folder: tempfile::TempDir,
}

impl conformance::Place for File {
    type Store = SqliteStore;

    fn open(&self) -> SqliteStore {
        let file = self.folder.path().join("server.db");
        SqliteStore::open(&SqliteOptions::new(file, conformance::trust_domain())).unwrap()
    }
}

fn fresh() -> File {
    File {
        folder: tempfile::tempdir().unwrap(),
    }
}

conformance!(fresh);
