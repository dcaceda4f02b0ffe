//! A start finds in the journal what the mark beside the store says, or refuses; an operator can accept that it went back.
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

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use conformance::{accepted, happened, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_store::{SqliteOptions, SqliteStore, Store, StoreError};

struct Place {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.db");
    Place { _dir: dir, file }
}

impl Place {
    fn beside(&self, suffix: &str) -> PathBuf {
        format!("{}{suffix}", self.file.display()).into()
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions::new(&self.file, trust_domain())
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.options())
    }

    async fn write(&self, names: &[&str]) {
        let store = self.open().unwrap();
        for name in names {
            commit(&store, name).await;
        }
    }

    /// Writes, and ends as after `kill -9`.
    fn write_and_crash(&self, names: &[&str]) {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_and_crashes", "--ignored", "--nocapture"])
            .env("STORE_FILE", &self.file)
            .env("STORE_NAMES", names.join(","))
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&status.stdout).contains("all written"),
            "{status:?}"
        );
        assert!(fs::metadata(self.beside("-wal")).unwrap().len() > 0);
    }

    async fn names(&self) -> Vec<String> {
        let store = self.open().unwrap();
        names(&store).await
    }

    /// Refused by a start and by a look alike, and nothing is changed by either.
    fn must_refuse(&self, code: &str) -> String {
        let files = || {
            let all = ["", "-wal", ".mark"].map(|suffix| fs::read(self.beside(suffix)).ok());
            all.map(|file| file.unwrap_or_default())
        };
        let before = files();
        let error = self.open().err().expect("refused");
        assert_eq!(error.code().as_str(), code, "{error:?}");
        assert!(error.likely_cause().is_some() && error.next_step().is_some());
        assert!(files() == before, "a start that is refused changes nothing");
        error.compared().unwrap()
    }

    async fn accept(&self, code: &str) {
        let store = SqliteStore::open(&self.options().accept_rollback("uid:7", "the disk died")).unwrap();
        assert_eq!(store.rollback().unwrap().code().as_str(), code);
        let events = conformance::all_events(&store).await;
        let last = events.last().unwrap();
        let detail = &last.record.detail;
        assert!(
            detail.contains("store-rollback-accepted") && detail.contains("the disk died"),
            "{detail}"
        );
        assert!(detail.contains(code) && detail.contains("uid:7"), "{detail}");
        drop(store);
        let again = SqliteStore::open(&self.options().accept_rollback("uid:7", "again")).unwrap();
        assert!(again.rollback().is_none(), "nothing more to accept");
    }
}

async fn commit(store: &SqliteStore, name: &str) {
    store.commit(happened(vec![accepted(name)])).await.unwrap();
}

async fn names(store: &SqliteStore) -> Vec<String> {
    let events = conformance::all_events(store).await;
    events.into_iter().map(|event| event.record.subject).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[tokio::test]
#[ignore = "run by others"]
async fn child_writes_and_crashes() {
    let file: PathBuf = std::env::var_os("STORE_FILE").expect("run by another test").into();
    let store = SqliteStore::open(&SqliteOptions::new(file, trust_domain())).unwrap();
    for name in std::env::var("STORE_NAMES").unwrap().split(',') {
        commit(&store, name).await;
    }
    println!("\nall written");
    std::process::abort();
}

#[tokio::test]
async fn the_mark_is_private_and_a_crash_is_no_roll_back() {
    let place = place();
    place.write(&["a"]).await;
    assert_eq!(
        fs::metadata(place.beside(".mark")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    place.write_and_crash(&["b", "c"]);
    assert_eq!(place.names().await, ["a", "b", "c"]);
    assert_eq!(place.names().await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_log_that_is_lost_or_cut_is_a_roll_back() {
    for lose in [
        (|log| fs::remove_file(log).unwrap()) as fn(&Path),
        |log| fs::write(log, b"").unwrap(),
        |log| {
            let whole = fs::read(log).unwrap();
            fs::write(log, &whole[..whole.len() - 5000]).unwrap();
        },
        |log| {
            let mut bytes = fs::read(log).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(log, bytes).unwrap();
        },
    ] {
        let place = place();
        place.write(&["a"]).await;
        place.write_and_crash(&["b", "c"]);
        lose(&place.beside("-wal"));
        let _ = fs::remove_file(place.beside("-shm"));
        let compared = place.must_refuse("HM-STORE-0029");
        assert!(compared.contains("the mark says record 3 "), "{compared}");
        place.must_refuse("HM-STORE-0029");
        place.accept("HM-STORE-0029").await;
        let names = place.names().await;
        assert!(
            names[0] == "a" && names.last().unwrap() == "store" && !names.contains(&"c".to_owned()),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn a_backup_that_is_put_back_is_a_roll_back() {
    let place = place();
    let backup = place.beside(".backup");
    place.write(&["a"]).await;
    copy(&place.file, &backup);
    place.write(&["b"]).await;
    copy(&backup, &place.file);
    let compared = place.must_refuse("HM-STORE-0029");
    assert!(
        compared.contains("record 2 with the chain hash")
            && compared.contains("ends with record 1 with the chain hash"),
        "{compared}"
    );
    place.accept("HM-STORE-0029").await;
    place.write(&["c", "d"]).await;
    assert_eq!(place.names().await, ["a", "store", "c", "d"]);
    // Another history of the same length, and longer, is none either.
    copy(&backup, &place.file);
    let mark = place.beside(".mark");
    let marked = fs::read(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    place.accept("HM-STORE-0030").await;
    place.write(&["e", "f", "g"]).await;
    fs::write(&mark, marked).unwrap();
    let compared = place.must_refuse("HM-STORE-0029");
    assert!(compared.contains("ends with record 5"), "{compared}");
}

#[tokio::test]
async fn a_store_without_its_mark_is_refused_and_one_from_before_gets_it() {
    let place = place();
    place.write(&["a"]).await;
    let mark = place.beside(".mark");
    let marked = fs::read(&mark).unwrap();
    for damaged in [None, Some(vec![0; marked.len()]), Some(Vec::new())] {
        match damaged {
            None => fs::remove_file(&mark).unwrap(),
            Some(bytes) => fs::write(&mark, bytes).unwrap(),
        }
        assert!(place.must_refuse("HM-STORE-0030").contains("ends with record 1 "));
    }
    // One slot that was torn leaves the other.
    for slot in [0, 4096] {
        let mut torn = marked.clone();
        torn[slot + 30] ^= 1;
        fs::write(&mark, torn).unwrap();
        assert_eq!(place.names().await, ["a"]);
        fs::write(&mark, &marked).unwrap();
    }
    let before = rusqlite::Connection::open(&place.file).unwrap();
    before
        .execute("DELETE FROM meta WHERE key = 'incarnation'", [])
        .unwrap();
    drop(before);
    fs::remove_file(&mark).unwrap();
    assert_eq!(place.names().await, ["a"]);
    assert!(mark.exists());
}

#[tokio::test]
async fn a_log_that_another_file_left_is_not_taken_for_this_ones() {
    let place = place();
    let backup = place.beside(".backup");
    place.write(&["a"]).await;
    copy(&place.file, &backup);
    place.write_and_crash(&["b"]);
    copy(&backup, &place.file);
    let compared = place.must_refuse("HM-STORE-0034");
    assert!(compared.contains("bytes at"), "{compared}");
    // As the text says: the log goes aside, and the backup is accepted.
    fs::remove_file(place.beside("-wal")).unwrap();
    fs::remove_file(place.beside("-shm")).unwrap();
    place.must_refuse("HM-STORE-0029");
    place.accept("HM-STORE-0029").await;
    assert_eq!(place.names().await, ["a", "store"]);
}

#[tokio::test]
async fn an_empty_file_beside_a_log_is_refused_and_the_log_stays() {
    let place = place();
    place.write_and_crash(&["a"]);
    let file = fs::read(&place.file).unwrap();
    fs::write(&place.file, b"").unwrap();
    place.must_refuse("HM-STORE-0034");
    let log = fs::metadata(place.beside("-wal")).unwrap().len();
    let error = SqliteStore::verify(&place.options()).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-STORE-0034");
    assert_eq!(fs::metadata(place.beside("-wal")).unwrap().len(), log);
    // Nobody can accept that, nor is a file made where there is none: the log has all that there is.
    let accepting = || SqliteStore::open(&place.options().accept_rollback("uid:7", "it is gone")).err();
    assert_eq!(accepting().expect("refused").code().as_str(), "HM-STORE-0034");
    fs::remove_file(&place.file).unwrap();
    place.must_refuse("HM-STORE-0034");
    let error = accepting().expect("refused");
    assert!(error.compared().unwrap().contains("missing"), "{error:?}");
    assert!(!place.file.exists());
    assert_eq!(fs::metadata(place.beside("-wal")).unwrap().len(), log);
    // The control: with its file back nothing is lost; that it was written meanwhile is accepted.
    fs::write(&place.file, file).unwrap();
    place.must_refuse("HM-STORE-0034");
    place.accept("HM-STORE-0034").await;
    assert_eq!(place.names().await, ["a", "store"]);
}

#[tokio::test]
async fn a_look_finds_a_roll_back_too() {
    let place = place();
    place.write(&["a"]).await;
    let store = place.open().unwrap();
    commit(&store, "b").await;
    assert_eq!(SqliteStore::verify(&place.options()).unwrap().unwrap().revision, 2);
    drop(store);
    let writer = rusqlite::Connection::open(&place.file).unwrap();
    writer.execute("DELETE FROM journal WHERE revision = 2", []).unwrap();
    drop(writer);
    let error = SqliteStore::verify(&place.options()).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-STORE-0029");
}

/// Who takes the mark away from under a running server leaves it no less protected, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_is_removed_or_replaced_meanwhile_is_told_and_written_anew() {
    let mark = |place: &Place| place.beside(".mark");
    let older = |place: &Place| {
        fs::copy(mark(place), place.beside(".older")).unwrap();
    };
    type Act = fn(&Path, &Path);
    let acts: [Act; 2] = [
        |mark, _| fs::remove_file(mark).unwrap(),
        |mark, older| fs::rename(older, mark).unwrap(),
    ];
    for act in acts {
        let place = place();
        place.write(&["a"]).await;
        older(&place);
        let store = place.open().unwrap();
        commit(&store, "b").await;
        store.check().await.unwrap();
        assert_eq!(store.statistics().marks_gone, 0, "the control");
        act(&mark(&place), &place.beside(".older"));
        for _ in 0..2 {
            store.check().await.unwrap();
            assert_eq!(store.statistics().marks_gone, 1);
        }
        let mode = fs::metadata(mark(&place)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        commit(&store, "c").await;
        drop(store);
        assert_eq!(place.names().await, ["a", "b", "c"]);
    }
}
