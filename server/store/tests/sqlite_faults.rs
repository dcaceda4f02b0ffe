//! What a broken or foreign file, a full disk, another program and another server get.
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
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use conformance::{Learned, accepted, all_events, changed, create, full_entry, happened, transaction, trust_domain};
use futures_util::future::join_all;
use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Change, Event, Transaction};
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

fn options(file: &Path) -> SqliteOptions {
    SqliteOptions::new(file, trust_domain()).busy_timeout(Duration::from_millis(100))
}

fn refused(file: &Path) -> StoreError {
    let Err(error) = SqliteStore::open(&options(file)) else {
        panic!("the store opened");
    };
    // Whatever happens to a store, the operator gets a cause and a next step.
    assert!(error.likely_cause().is_some() && error.next_step().is_some());
    error
}

fn code(error: &StoreError) -> &'static str {
    error.code().as_str()
}

fn large_entry(n: usize) -> hallmark_state::Entry {
    let mut entry = full_entry(&format!("e{n}"), 1);
    entry.hint = "x".repeat(1000);
    entry
}

/// An entry, and what is said of it.
fn entry(n: usize) -> Transaction {
    transaction(vec![create(large_entry(n))], vec![accepted(&n.to_string())])
}

/// Events that take as much room.
fn events(n: usize) -> Transaction {
    happened(vec![Event::done(
        "x".repeat(1000),
        hallmark_state::What::InventoryRemoved {
            removed: vec![n.to_string()],
            reason: String::new(),
        },
    )])
}

#[test]
fn the_file_is_private_and_opens_again() {
    let place = place();
    drop(SqliteStore::open(&options(&place.file)).unwrap());
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    for name in ["", "-wal", ".lock"] {
        let file = format!("{}{name}", place.file.display());
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
    }
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_leaves_everything_in_one_file() {
    let place = place();
    let log = place.file.with_extension("db-wal");
    for n in 0..20 {
        let store = SqliteStore::open(&options(&place.file)).unwrap();
        store.commit(entry(n)).await.unwrap();
        assert_eq!(store.load().await.unwrap().entries.len(), n + 1);
        assert!(log.exists());
        drop(store);
        assert!(!log.exists(), "round {n}");
    }
}

#[test]
fn a_second_server_is_refused_while_the_first_runs() {
    let place = place();
    let first = SqliteStore::open(&options(&place.file)).unwrap();
    assert_eq!(code(&refused(&place.file)), "HM-STORE-0005");
    drop(first);
    SqliteStore::open(&options(&place.file)).unwrap();
}

#[test]
fn another_trust_domain_is_refused() {
    let place = place();
    drop(SqliteStore::open(&options(&place.file)).unwrap());
    let other = SqliteOptions::new(&place.file, TrustDomain::parse("other.test").unwrap());
    let Err(error) = SqliteStore::open(&other) else {
        panic!("opened")
    };
    assert_eq!(code(&error), "HM-STORE-0009");
    assert_eq!(error.compared().unwrap(), "store of example.org, configured other.test");
    SqliteStore::open(&options(&place.file)).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = place();
    drop(SqliteStore::open(&options(&place.file)).unwrap());
    let version = |sql: &str| -> i64 {
        let raw = rusqlite::Connection::open(&place.file).unwrap();
        raw.execute_batch(sql).unwrap();
        raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let known = version("");
    version("PRAGMA user_version = 99");
    let error = refused(&place.file);
    assert_eq!(code(&error), "HM-STORE-0008");
    assert_eq!(
        error.compared().unwrap(),
        format!("schema version 99, this program knows up to {known}")
    );
    assert_eq!(version(""), 99);
    version(&format!("PRAGMA user_version = {known}"));
    SqliteStore::open(&options(&place.file)).unwrap();
}

#[test]
fn a_database_of_another_program_is_refused() {
    let place = place();
    rusqlite::Connection::open(&place.file)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    let before = fs::read(&place.file).unwrap();
    assert_eq!(code(&refused(&place.file)), "HM-STORE-0007");
    assert!(fs::read(&place.file).unwrap() == before, "it is left as it was");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let place = place();
    fs::write(
        &place.file,
        "this is a text file, and a long one at that.\n".repeat(100),
    )
    .unwrap();
    assert_eq!(code(&refused(&place.file)), "HM-STORE-0007");
}

#[test]
fn a_damaged_file_is_told_as_such() {
    let place = place();
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = (0..50).map(|n| create(large_entry(n))).collect();
    runtime.block_on(store.commit(changed(entries))).unwrap();
    drop(store);
    let mut bytes = fs::read(&place.file).unwrap();
    // Everything but the first page, which holds the schema.
    bytes[4096..].fill(0xa5);
    fs::write(&place.file, bytes).unwrap();
    let error = refused(&place.file);
    assert_eq!(code(&error), "HM-STORE-0006", "{error:?}");
}

#[test]
fn a_folder_that_is_not_there_is_told_as_such() {
    let place = place();
    assert_eq!(code(&refused(&place.file.join("no/such/server.db"))), "HM-STORE-0001");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_holds_the_lock_is_told_and_waited_out() {
    let place = place();
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    let other = rusqlite::Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(entry(1)).await.unwrap_err();
    assert_eq!(code(&error), "HM-STORE-0004");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(entry(1)).await.unwrap();
}

/// An outcome that nobody waits for is not lost with the group that it was to travel with.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_is_not_taken_travels_with_the_next_group() {
    let place = place();
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    let intents = async || {
        let intents = happened(conformance::intents(2));
        store.commit(intents).await.unwrap().events.unwrap()
    };
    let (control, lost, last) = (intents().await, intents().await, intents().await);
    let outcome = |range| happened(vec![conformance::outcome(range, hallmark_state::Outcome::Issued)]);
    store.commit_later(outcome(control));
    store.check().await.unwrap();
    assert_eq!(all_events(&store).await.len(), 7, "the control: it came with the check");
    let other = rusqlite::Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.commit_later(outcome(lost));
    assert_eq!(code(&store.commit(entry(1)).await.unwrap_err()), "HM-STORE-0004");
    other.execute_batch("ROLLBACK").unwrap();
    store.check().await.unwrap();
    assert_eq!(all_events(&store).await.len(), 8);
    // What is refused for what it says is not tried for ever: it is told behind the answers of its group.
    store.commit_later(outcome(lost));
    for _ in 0..2 {
        store.check().await.unwrap();
    }
    assert_eq!(store.statistics().later_failures, 1);
    // The last ones are tried once more when the store is closed.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.commit_later(outcome(last));
    assert_eq!(code(&store.check().await.unwrap_err()), "HM-STORE-0004");
    other.execute_batch("ROLLBACK").unwrap();
    drop((store, other));
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    assert_eq!(store.load().await.unwrap().interrupted, 0);
    assert_eq!(all_events(&store).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_says_so_and_recovers() {
    // What the entry's row has no room for, and what the journal's row has none for when the entry's is written.
    for (asked, size) in [
        (entry as fn(usize) -> Transaction, 480),
        (events, 480),
        (entry, 501),
        (entry, 522),
    ] {
        let place = place();
        let store = SqliteStore::open(&options(&place.file).size_limit(size * 1024)).unwrap();
        store
            .commit(changed((0..40).map(|n| create(large_entry(n + 2_000_000))).collect()))
            .await
            .unwrap();
        fill_and_recover(&store, asked, async || {
            let old = (0..40).map(|n| Change::DeleteEntry(large_entry(n + 2_000_000).into()));
            store.commit(changed(old.collect())).await.unwrap();
        })
        .await;
    }
}

/// Writes until there is no room, alone and with others at once; makes room, and writes again. What was acknowledged is there,
/// nothing else is, and no number is missing.
async fn fill_and_recover(store: &SqliteStore, asked: impl Fn(usize) -> Transaction, make_room: impl AsyncFn()) {
    let (start, learned) = (store.load().await.unwrap(), Learned::of(store));
    let (mut acknowledged, mut next, mut errors) = (Vec::new(), 0_usize, Vec::new());
    while errors.len() < 20 {
        let at_once = if next.is_multiple_of(2) { 1 } else { 6 };
        let commits = join_all((next..next + at_once).map(|n| store.commit(asked(n))));
        for (n, result) in (next..).zip(commits.await) {
            match result {
                Ok(committed) => acknowledged.push((n, committed)),
                Err(error) => errors.push(error),
            }
        }
        next += at_once;
        assert!(next < 100_000, "the store never became full");
    }
    assert!(errors.iter().all(|error| code(error) == "HM-STORE-0003"), "{errors:?}");
    assert!(acknowledged.len() > 10, "full after {}", acknowledged.len());
    is_there(store, &start, &asked, &acknowledged).await;
    let followed: Vec<u64> = learned.all().iter().map(|record| record.revision).collect();
    let revisions: Vec<u64> = acknowledged.iter().map(|(_, committed)| committed.revision).collect();
    assert_eq!(followed, revisions);
    make_room().await;
    let between = store.statistics().revision - start.revision - u64::try_from(acknowledged.len()).unwrap();
    let committed = store.commit(asked(1_000_000)).await.unwrap();
    let last = acknowledged.last().unwrap().1;
    assert_eq!(committed.revision, last.revision + between + 1);
    assert_eq!(committed.events.unwrap().first, last.events.unwrap().last + 1);
}

/// What was acknowledged, and nothing else.
async fn is_there(
    store: &SqliteStore,
    start: &hallmark_state::Snapshot,
    asked: impl Fn(usize) -> Transaction,
    acknowledged: &[(usize, hallmark_state::Committed)],
) {
    let loaded = store.load().await.unwrap();
    let revisions: Vec<u64> = acknowledged.iter().map(|(_, committed)| committed.revision).collect();
    assert_eq!(revisions, (start.revision + 1..=loaded.revision).collect::<Vec<_>>());
    let changes = acknowledged.iter().map(|(n, _)| asked(*n).changes.len()).sum::<usize>();
    assert_eq!(loaded.entries.len(), start.entries.len() + changes);
    let expected = acknowledged.iter().flat_map(|(n, committed)| {
        let first = committed.events.unwrap().first;
        asked(*n).readable(first).collect::<Vec<_>>()
    });
    assert_eq!(all_events(store).await, expected.collect::<Vec<_>>());
}

/// Runs one of the `child_` tests below in a process of its own.
fn child(name: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("STORE_FILE", file);
    command
}

fn child_file() -> PathBuf {
    std::env::var_os("STORE_FILE").expect("run by another test").into()
}

/// Runs a child with the store on a disk of 2 MiB, where this system lets one be mounted; `otherwise` says what is lost where not.
fn on_a_small_disk(name: &str, otherwise: &str) {
    let place = place();
    let mount = place.file.parent().unwrap();
    let may_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespace here{otherwise}");
        return;
    }
    let child = child(name, &place.file);
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", r#"mount -t tmpfs -o size=2m none "$0" && exec "$@""#])
        .arg(mount)
        .arg(child.get_program())
        .args(child.get_args())
        .env("STORE_FILE", &place.file)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    on_a_small_disk(
        "child_fills_the_disk",
        "; a_full_store_says_so_and_recovers covers the same code",
    );
}

#[test]
fn a_log_does_not_fill_a_disk_on_which_the_store_has_room() {
    on_a_small_disk("child_writes_more_than_the_disk_holds", "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_log_does_not_fill_a_disk_on_which_the_store_has_room"]
async fn child_writes_more_than_the_disk_holds() {
    let store = SqliteStore::open(&options(&child_file())).unwrap();
    // Each takes three pages of the log at least: several times the disk.
    for n in 1..=600 {
        store.commit(changed(vec![Change::PutBundleSequence(n)])).await.unwrap();
    }
    let sizes = store.statistics();
    assert!(sizes.file_bytes + sizes.log_bytes < 2 * 1024 * 1024, "{sizes:?}");
    assert_eq!(store.load().await.unwrap().bundle_sequence, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_reader_held_back_is_cut_when_the_reader_is_gone() {
    const LIMIT: u64 = 8 * 1024 * 1024;
    let place = place();
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    let large = |n: usize| {
        let entry = hallmark_state::Entry {
            hint: "x".repeat(500_000),
            ..full_entry(&format!("e{}", n % 4), 1)
        };
        let replaces = (n >= 4).then(|| entry.clone().into());
        changed(vec![Change::PutEntry {
            entry: entry.into(),
            replaces,
        }])
    };
    store.commit(large(0)).await.unwrap();
    let reader = rusqlite::Connection::open(&place.file).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
    for n in 1..30 {
        store.commit(large(n)).await.unwrap();
    }
    let grown = store.statistics();
    assert!(grown.log_bytes > LIMIT && grown.file_bytes > 0, "{grown:?}");
    drop(reader);
    for n in 30..50 {
        store.commit(large(n)).await.unwrap();
    }
    let cut = store.statistics().log_bytes;
    assert!(cut <= LIMIT, "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_full_disk_is_told_and_recovered_from"]
async fn child_fills_the_disk() {
    let file = child_file();
    let ballast = file.with_file_name("ballast");
    fs::write(&ballast, vec![0; 256 * 1024]).unwrap();
    let store = SqliteStore::open(&options(&file)).unwrap();
    fill_and_recover(&store, entry, async || fs::remove_file(&ballast).unwrap()).await;
    store.check().await.unwrap();
}

#[test]
fn a_read_only_store_is_told_as_such() {
    let place = place();
    drop(SqliteStore::open(&options(&place.file)).unwrap());
    let (dir, lock) = (place.file.parent().unwrap(), place.file.with_extension("db.lock"));
    for (path, mode) in [(&*lock, 0o666), (&*place.file, 0o444), (dir, 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut child = child("child_opens_read_only", &place.file);
    // The superuser may write whatever the mode says.
    if fs::write(dir.join("probe"), "").is_ok() {
        child.uid(65534);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by a_read_only_store_is_told_as_such"]
fn child_opens_read_only() {
    assert_eq!(code(&refused(&child_file())), "HM-STORE-0002");
}

/// SQLite writes on to a file that has no name any more; what is acknowledged then is gone with the process.
#[tokio::test]
async fn a_store_whose_file_is_gone_or_another_acknowledges_nothing() {
    let place = place();
    let store = SqliteStore::open(&options(&place.file)).unwrap();
    store.commit(entry(1)).await.unwrap();
    store.check().await.unwrap();
    let aside = place.file.with_extension("aside");
    fs::rename(&place.file, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::copy(&aside, &place.file).unwrap();
        }
        assert_eq!(code(&store.commit(entry(2)).await.unwrap_err()), "HM-STORE-0017");
        assert_eq!(code(&store.check().await.unwrap_err()), "HM-STORE-0017");
    }
    // The control: back in its place, it is the file that was opened.
    fs::rename(&aside, &place.file).unwrap();
    store.commit(entry(2)).await.unwrap();
    store.check().await.unwrap();
}
