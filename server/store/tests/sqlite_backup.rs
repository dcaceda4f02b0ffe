//! Backups that are cut off, repeated, or given names that mean something else.
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
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use conformance::{accepted, happened, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_store::{SqliteOptions, SqliteStore, Store};

fn options(file: &Path) -> SqliteOptions {
    SqliteOptions::new(file, trust_domain())
}

/// A store with one record, open.
async fn store() -> (tempfile::TempDir, PathBuf, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("data/server.db");
    let store = SqliteStore::open(&options(&file)).unwrap();
    store.commit(happened(vec![accepted("a")])).await.unwrap();
    (folder, file, store)
}

fn backup(file: &Path, to: &Path) -> Result<u64, &'static str> {
    let made = SqliteStore::backup(&options(file), to);
    made.map(|verified| verified.expect("of this version").revision)
        .map_err(|error| error.code().as_str())
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_a_backup_left_that_was_cut_off_is_no_backup_and_stands_in_nobodys_way() {
    let (folder, file, _store) = store().await;
    let place = folder.path().join("copies");
    fs::create_dir(&place).unwrap();
    let copy = place.join("b.db");
    fs::write(place.join("b.db.part"), "the begin of a copy").unwrap();
    fs::set_permissions(place.join("b.db.part"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(place.join("b.db.part-journal"), "and its journal").unwrap();
    assert_eq!(backup(&file, &copy), Ok(1));
    assert_eq!(names(&place), ["b.db"]);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    // The one that is whole stays.
    assert_eq!(backup(&file, &copy), Err("HM-STORE-0037"));
    assert_eq!(names(&place), ["b.db"]);
}

#[tokio::test]
async fn a_copy_that_another_backup_makes_is_left_to_it() {
    let (folder, file, _store) = store().await;
    let copy = folder.path().join("b.db");
    let part = fs::File::create(folder.path().join("b.db.part")).unwrap();
    part.lock().unwrap();
    assert_eq!(backup(&file, &copy), Err("HM-STORE-0005"));
    drop(part);
    assert_eq!(backup(&file, &copy), Ok(1));
}

#[tokio::test]
async fn a_name_is_a_files_name_whatever_it_looks_like() {
    let (folder, file, _store) = store().await;
    for name in [
        "file:b.db",
        "file:b.db?mode=memory",
        "b.db#",
        "b%2e.db",
        ":memory:",
        " b.db",
    ] {
        let copy = folder.path().join(name);
        assert_eq!(backup(&file, &copy), Ok(1), "{name}");
        assert!(fs::metadata(&copy).unwrap().len() > 4096, "{name}");
    }
    assert_eq!(names(folder.path()).len(), 7, "{:?}", names(folder.path()));
}

#[tokio::test]
async fn the_names_of_the_stores_own_files_and_of_others_are_not_taken() {
    let (folder, file, store) = store().await;
    let data = folder.path().join("data");
    let before = names(&data);
    for name in ["server.db-journal", "server.db-wal2", "server.db.copy"] {
        assert_eq!(backup(&file, &data.join(name)), Err("HM-STORE-0001"), "{name}");
    }
    assert_eq!(names(&data), before);
    // The control: another name in the same folder.
    assert_eq!(backup(&file, &data.join("copy.db")), Ok(1));
    let link = folder.path().join("link.db");
    symlink(folder.path().join("elsewhere.db"), &link).unwrap();
    assert_eq!(backup(&file, &link), Err("HM-STORE-0037"), "a link that leads nowhere");
    symlink(folder.path().join("elsewhere.db"), folder.path().join("c.db.part")).unwrap();
    assert_eq!(backup(&file, &folder.path().join("c.db")), Err("HM-STORE-0037"));
    assert!(!folder.path().join("elsewhere.db").exists());
    drop(store);
    assert!(SqliteStore::open(&options(&file)).is_ok());
}
