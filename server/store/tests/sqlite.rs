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

    fn examine(&self) {
        let file = self.folder.path().join("server.db");
        let verified = SqliteStore::verify(&SqliteOptions::new(file, conformance::trust_domain()));
        let verified = verified.unwrap().expect("a store of this version");
        assert_eq!(verified.differences, Vec::new());
        assert_eq!((verified.unchecked, verified.more_differences), (0, 0));
    }
}

fn fresh() -> File {
    File {
        folder: tempfile::tempdir().unwrap(),
    }
}

conformance!(fresh);
