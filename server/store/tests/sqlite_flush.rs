//! What a disk gets that fails while changes are flushed.
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
    path::{Path, PathBuf},
    process::Command,
};

use conformance::{accepted, all_events, happened, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_store::{SqliteOptions, SqliteStore, Store, StoreError};

/// A flush that fails as long as a file is there: what no disk does on demand.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) { const char *file = getenv("FLUSH_FAILS"); return file && access(file, F_OK) == 0; }
int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"#;

fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain()))
}

async fn subjects(store: &SqliteStore) -> Vec<String> {
    let events = all_events(store).await;
    events.into_iter().map(|event| event.record.subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_is_told_as_unknown_and_ends_all_writing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, shim) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(&source)
        .arg("-ldl")
        .status();
    assert!(compiled.unwrap().success());
    let file = dir.path().join("server.db");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_whose_disk_fails", "--ignored", "--nocapture"])
        .env("STORE_FILE", &file)
        .env("LD_PRELOAD", &shim)
        .env("FLUSH_FAILS", dir.path().join("fails"))
        .status()
        .unwrap();
    assert!(!status.success(), "it ends as if it was killed");
    assert!(dir.path().join("told").exists(), "behind all that it asserts");
    // Who starts again has what was acknowledged, may have what was not, and works.
    let store = open(&file).unwrap();
    let found = subjects(&store).await;
    assert!(found == ["kept"] || found == ["kept", "unknown"], "{found:?}");
    store.commit(happened(vec![accepted("after")])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_flush_that_fails_is_told_as_unknown_and_ends_all_writing"]
async fn child_whose_disk_fails() {
    let file: PathBuf = std::env::var_os("STORE_FILE").expect("run by another test").into();
    let fails: PathBuf = std::env::var_os("FLUSH_FAILS").expect("run by another test").into();
    let store = open(&file).unwrap();
    let commit = async |subject: &str| store.commit(happened(vec![accepted(subject)])).await;
    commit("kept").await.expect("the control");
    fs::write(&fails, "").unwrap();
    let error = commit("unknown").await.unwrap_err();
    assert_eq!(error.code().as_str(), "HM-STORE-0033", "{error}");
    assert!(error.likely_cause().is_some() && error.next_step().is_some());
    // The disk is well again: what is on it is still not known.
    fs::remove_file(&fails).unwrap();
    for _ in 0..2 {
        assert_eq!(commit("never").await.unwrap_err().code().as_str(), "HM-STORE-0033");
    }
    assert!(store.check().await.is_err(), "health tells");
    fs::write(file.with_file_name("told"), "").unwrap();
    std::process::abort();
}
