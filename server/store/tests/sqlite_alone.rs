//! The store's file and its write-ahead log are one server's alone, whatever leads to them; who writes to them all the same is
//! noticed.
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
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
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

fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain()).busy_timeout(Duration::from_millis(100)))
}

fn code<T>(result: Result<T, StoreError>) -> &'static str {
    let error = result.err().expect("refused");
    assert!(error.likely_cause().is_some() && error.next_step().is_some());
    error.code().as_str()
}

async fn commit(store: &SqliteStore, name: &str) -> Result<(), StoreError> {
    store.commit(happened(vec![accepted(name)])).await.map(drop)
}

async fn names(store: &SqliteStore) -> Vec<String> {
    let events = conformance::all_events(store).await;
    events.into_iter().map(|event| event.record.subject).collect()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", file.display()).into()
}

/// Opens the store in a process of its own, and writes to it; gives the code of what it is refused with, or `open`.
fn another_process(file: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_opens", "--ignored", "--nocapture"])
        .env("STORE_FILE", file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let told = said.lines().find_map(|line| line.strip_prefix("told: "));
    told.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
#[ignore = "run by others"]
fn child_opens() {
    let file: PathBuf = std::env::var_os("STORE_FILE").expect("run by another test").into();
    let told = open(&file).err().map_or("open", |error| error.code().as_str());
    // The test's own words may stand before it in the line.
    println!("\ntold: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_leads_to_the_file_leads_to_its_lock() {
    let place = place();
    let store = open(&place.file).unwrap();
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("server.db");
    symlink(&place.file, &link).unwrap();
    assert_eq!(another_process(&link), "HM-STORE-0005");
    fs::remove_file(beside(&place.file, ".lock")).unwrap();
    assert_eq!(another_process(&place.file), "HM-STORE-0005");
    assert_eq!(another_process(&link), "HM-STORE-0005");
    // The first one was not disturbed.
    commit(&store, "a").await.unwrap();
    drop(store);
    // The control: by either name it is the one store.
    assert_eq!(another_process(&link), "open");
    assert_eq!(names(&open(&place.file).unwrap()).await, ["a"]);
    assert_eq!(
        fs::read_dir(other.path()).unwrap().count(),
        1,
        "nothing beside the link"
    );
}

#[test]
fn a_file_with_several_names_is_refused() {
    let place = place();
    drop(open(&place.file).unwrap());
    let second = place.file.with_extension("second");
    fs::hard_link(&place.file, &second).unwrap();
    for name in [&place.file, &second] {
        let error = open(name).err().unwrap();
        assert_eq!(error.compared().unwrap(), "2 names, one is allowed");
        assert_eq!(code(Err::<(), _>(error)), "HM-STORE-0028");
    }
    fs::remove_file(second).unwrap();
    open(&place.file).unwrap();
}

/// The lock is not SQLite's: other programs read while the server runs, and SQLite's own locks hold against them.
#[tokio::test(flavor = "multi_thread")]
async fn other_programs_read_and_are_kept_from_the_log() {
    let place = place();
    let store = open(&place.file).unwrap();
    commit(&store, "a").await.unwrap();
    let output = Command::new("sqlite3")
        .arg(&place.file)
        .arg("SELECT count(*) FROM event_subjects")
        .output();
    match output {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}"),
        Err(_) => eprintln!("skipped: no sqlite3 here"),
    }
    // It was not the last to close the file: the log is there, and writing goes on.
    assert!(fs::metadata(beside(&place.file, "-wal")).unwrap().len() > 0);
    commit(&store, "b").await.unwrap();
    assert_eq!(names(&store).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_by_another_program_is_noticed_and_ends_all_writing() {
    let place = place();
    let store = open(&place.file).unwrap();
    commit(&store, "a").await.unwrap();
    let other = rusqlite::Connection::open(&place.file).unwrap();
    let _: i64 = other
        .query_row("SELECT count(*) FROM journal", [], |row| row.get(0))
        .unwrap();
    // The control: who reads is no other writer.
    commit(&store, "b").await.unwrap();
    other
        .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('other', '1')", [])
        .unwrap();
    for _ in 0..2 {
        assert_eq!(code(commit(&store, "c").await), "HM-STORE-0032");
        assert_eq!(code(store.check().await), "HM-STORE-0032");
    }
    drop(other);
    drop(store);
    assert_eq!(names(&open(&place.file).unwrap()).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_over_the_file_is_noticed_and_left_as_it_is() {
    let place = place();
    let backup = place.file.with_extension("backup");
    let store = open(&place.file).unwrap();
    commit(&store, "a").await.unwrap();
    drop(store);
    fs::copy(&place.file, &backup).unwrap();
    let store = open(&place.file).unwrap();
    commit(&store, "b").await.unwrap();
    fs::copy(&backup, &place.file).unwrap();
    assert_eq!(code(commit(&store, "c").await), "HM-STORE-0032");
    assert_eq!(code(store.check().await), "HM-STORE-0032");
    drop(store);
    assert!(
        fs::read(&place.file).unwrap() == fs::read(&backup).unwrap(),
        "the restored file is as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_checkpoints_are_no_foreign_writes() {
    let place = place();
    let store = open(&place.file).unwrap();
    let size = || fs::metadata(&place.file).unwrap().len();
    let before = size();
    let mut written = 0;
    while size() == before {
        assert!(written < 10_000, "the log is never folded into the file");
        commit(&store, &"x".repeat(3000)).await.unwrap();
        written += 1;
    }
    commit(&store, "a").await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_log_the_store_acknowledges_nothing_and_saves_what_it_has() {
    let place = place();
    let log = beside(&place.file, "-wal");
    let store = open(&place.file).unwrap();
    commit(&store, "a").await.unwrap();
    let aside = place.file.with_extension("aside");
    for replaced in [false, true] {
        if replaced {
            fs::write(&log, b"").unwrap();
        } else {
            fs::rename(&log, &aside).unwrap();
        }
        assert_eq!(code(commit(&store, "b").await), "HM-STORE-0031");
        assert_eq!(code(store.check().await), "HM-STORE-0031");
    }
    fs::remove_file(&log).unwrap();
    fs::remove_file(aside).unwrap();
    drop(store);
    assert_eq!(names(&open(&place.file).unwrap()).await, ["a"]);
}
