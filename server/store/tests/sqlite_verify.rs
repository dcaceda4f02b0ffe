//! A look at a store holds its tables against its journal, and leaves nothing behind.
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
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use conformance::{a_change_of_each_kind_is_taken, accepted, changed, create, happened, plain_entry, trust_domain};
use hallmark_reason::Coded as _;
use hallmark_state::Transaction;
use hallmark_store::{SqliteOptions, SqliteStore, Store, VerifiedJournal};
use rusqlite::Connection;

fn options(file: &Path) -> SqliteOptions {
    SqliteOptions::new(file, trust_domain())
}

fn verify(file: &Path) -> VerifiedJournal {
    SqliteStore::verify(&options(file))
        .unwrap()
        .expect("a store of this version")
}

/// A store with a row of each kind, and copies of it.
struct Template {
    folder: tempfile::TempDir,
    copies: u32,
}

impl Template {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&options(&folder.path().join("server.db"))).unwrap();
        a_change_of_each_kind_is_taken(&store).await;
        drop(store);
        Self { folder, copies: 0 }
    }

    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let copy = self.folder.path().join(self.copies.to_string());
        fs::create_dir(&copy).unwrap();
        for name in ["server.db", "server.db.mark"] {
            fs::copy(self.folder.path().join(name), copy.join(name)).unwrap();
        }
        copy.join("server.db")
    }
}

/// Every row that another program changes, adds or removes, and every column from which events are found.
const CHANGES: &[(&str, &str)] = &[
    ("UPDATE agents SET state = 'banned'", "of the table agents"),
    ("UPDATE agents SET stale_at = 77", "the verdict of row"),
    ("DELETE FROM agents", "of the table agents"),
    (
        "UPDATE entries SET spiffe_id = 'spiffe://example.org/w/other'",
        "row e1 of the table entries",
    ),
    ("UPDATE entries SET id = 'other'", "row other of the table entries"),
    ("DELETE FROM entries", "row e1 of the table entries"),
    ("UPDATE inventory SET serial = 'other'", "of the table inventory"),
    ("UPDATE evidence SET revision = 1", "of the table evidence"),
    ("UPDATE evidence SET file = '{ }'", "the file of row"),
    (
        "UPDATE evidence SET facts = replace(facts, 'virtual', 'discrete')",
        "the facts of row",
    ),
    ("UPDATE evidence SET facts = facts || ' '", "the facts of row"),
    ("UPDATE evidence SET earlier = facts", "the earlier of row"),
    ("DELETE FROM evidence_logs", "of the table evidence"),
    (
        "UPDATE ek_certificates SET certificate = 'other'",
        "of the table ek_certificates",
    ),
    (
        "UPDATE tpm_names SET ek = replace(ek, '0', '1')",
        "of the table tpm_names",
    ),
    (
        "DELETE FROM machine_eks WHERE ek = (SELECT min(ek) FROM machine_eks)",
        "of the table machine_eks",
    ),
    (
        "UPDATE policy_files SET in_force = 1 - in_force",
        "of the table policy_files",
    ),
    (
        "UPDATE authority_certificates SET label = 'other'",
        "of the table authority_certificates",
    ),
    ("UPDATE jwt_keys SET public_key = x'31'", "of the table jwt_keys"),
    ("UPDATE jwt_keys SET state = 'active'", "of the table jwt_keys"),
    (
        "UPDATE published_jwt_keys SET public_key = x'31'",
        "of the table published_jwt_keys",
    ),
    (
        "UPDATE published_jwt_keys SET publisher = agent || 'x'",
        "of the table published_jwt_keys",
    ),
    (
        "UPDATE authority_certificates SET upstream = x''",
        "of the table authority_certificates",
    ),
    ("DELETE FROM upstream_bundle", "row 1 of the table upstream_bundle"),
    (
        "UPDATE upstream_bundle SET content = x''",
        "row 1 of the table upstream_bundle",
    ),
    ("DELETE FROM admin_requests", "of the table admin_requests"),
    (
        "UPDATE image_assignments SET manifest_sha256 = zeroblob(32)",
        "of the table image_assignments",
    ),
    (
        "UPDATE image_assignments SET stage = 'done'",
        "of the table image_assignments",
    ),
    (
        "UPDATE role_svids SET issued_at = issued_at + 1",
        "of the table role_svids",
    ),
    (
        "UPDATE meta SET value = '99' WHERE key = 'bundle_sequence'",
        "row bundle_sequence of the table meta",
    ),
    (
        "UPDATE meta SET value = '1' || substr(value, instr(value, ' ')) WHERE key = 'rules'",
        "row rules of the table meta",
    ),
    (
        "UPDATE journal SET kinds = 4 WHERE revision = 3",
        "the column kinds of row 3 of the table journal",
    ),
    (
        "UPDATE journal SET at = at + 1 WHERE revision = 3",
        "the column at of row 3 of the table journal",
    ),
    (
        "UPDATE journal SET totals = '[[1,2,99999]]' WHERE revision = 3",
        "the column totals of row 3 of the table journal",
    ),
    (
        "DELETE FROM event_subjects WHERE subject = 'step 5'",
        "row step 5 3 of the table event_subjects",
    ),
    (
        "UPDATE event_subjects SET revision = 1 WHERE subject = 'step 5'",
        "row step 5 3 of the table event_subjects",
    ),
    (
        "INSERT INTO event_subjects VALUES ('nobody', 3, 3)",
        "row nobody 3 of the table event_subjects",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_changed_is_named_with_table_row_and_record() {
    let mut template = Template::new().await;
    let control = verify(&template.copy());
    assert_eq!(control.differences, Vec::new());
    assert!(control.checked >= 15 && control.unchecked == 0, "{control:?}");
    for (sql, named) in CHANGES {
        let file = template.copy();
        let raw = Connection::open(&file).unwrap();
        assert!(raw.execute(sql, []).unwrap() > 0, "{sql}");
        drop(raw);
        let verified = verify(&file);
        let told: Vec<_> = verified
            .differences
            .iter()
            .map(|error| (error.code().as_str(), error.to_string(), error.compared().unwrap()))
            .collect();
        let is_named = told.iter().any(|(code, what, how)| {
            *code == "HM-STORE-0036" && what.contains(named) && how.contains("expected") && how.contains("found")
                || how.contains("no record put it")
                || how.contains("no such event")
        });
        assert!(is_named, "{sql}: {told:?}");
        assert!(verified.differences[0].next_step().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_differences_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let store = SqliteStore::open(&options(&file)).unwrap();
    let entries = (0..130).map(|n| create(plain_entry(&format!("e{n}"), 1)));
    store.commit(changed(entries.collect())).await.unwrap();
    drop(store);
    assert_eq!(verify(&file).differences.len(), 0);
    Connection::open(&file)
        .unwrap()
        .execute("UPDATE entries SET hint = 'x'", [])
        .unwrap();
    let verified = verify(&file);
    assert_eq!((verified.differences.len(), verified.more_differences), (100, 30));
}

/// A store that the programs themselves have filled, with attestations, policies and bans.
#[test]
fn what_the_programs_have_written_is_what_their_journal_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-12.db"),
        &file,
    )
    .unwrap();
    drop(SqliteStore::open(&options(&file).accept_rollback("uid:7", "a copy")).unwrap());
    let verified = verify(&file);
    assert_eq!(verified.differences, Vec::new());
    assert!(verified.left_out.is_empty() && verified.checked > 10, "{verified:?}");
    let ban = "UPDATE agents SET state = 'active', since = since + 1";
    assert!(Connection::open(&file).unwrap().execute(ban, []).unwrap() > 0);
    assert!(!verify(&file).differences.is_empty());
}

/// What an older version left, the journal says nothing of: that is said, and what came since is checked.
#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_the_journal_had_changes_are_told_as_unchecked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-10.db"),
        &file,
    )
    .unwrap();
    let store = SqliteStore::open(&options(&file)).unwrap();
    let old = store.load().await.unwrap().nodes.len();
    assert!(old > 0);
    let new = Transaction {
        events: vec![accepted("a")],
        ..changed(vec![create(plain_entry("new", 1))])
    };
    store.commit(new).await.unwrap();
    drop(store);
    let control = verify(&file);
    assert_eq!(control.differences, Vec::new());
    assert!(
        control.unchecked >= u64::try_from(old).unwrap() && control.checked == 1,
        "{control:?}"
    );
    assert!(control.whole_after > 0);
    let change = |sql: &str| assert!(Connection::open(&file).unwrap().execute(sql, []).unwrap() > 0);
    change("UPDATE agents SET since = since + 1");
    assert_eq!(verify(&file).differences, Vec::new());
    change("UPDATE entries SET hint = 'x' WHERE id = 'new'");
    assert_eq!(verify(&file).differences.len(), 1);
}

/// What a start looks at before it brings an older store to its own schema.
#[tokio::test(flavor = "multi_thread")]
async fn the_authority_of_an_older_store_is_read_without_a_change_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    assert_eq!(SqliteStore::older(&options(&file)).unwrap(), None, "nothing is there");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-10.db"),
        &file,
    )
    .unwrap();
    let before = files(folder.path());
    let older = SqliteStore::older(&options(&file)).unwrap().expect("an older store");
    assert!(files(folder.path()) == before);
    let label = "hallmark-x509-example.org-1";
    assert_eq!(
        older.authorities.iter().map(|it| &*it.label).collect::<Vec<_>>(),
        [label]
    );
    assert!(older.recorded_keys.contains(label) && older.recorded_keys.len() == 1);
    let authorities = SqliteStore::open(&options(&file))
        .unwrap()
        .load()
        .await
        .unwrap()
        .authorities;
    assert_eq!(authorities, older.authorities);
    assert_eq!(
        SqliteStore::older(&options(&file)).unwrap(),
        None,
        "it is of the present schema"
    );
}

/// A copy that is made while others write has all of one moment, and nothing of it is lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_whole_store_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("server.db"), folder.path().join("copy.db"));
    let store = SqliteStore::open(&options(&file)).unwrap();
    a_change_of_each_kind_is_taken(&store).await;
    let before = store.statistics().revision;
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            store.commit(happened(vec![accepted(&n.to_string())])).await.unwrap();
        }
        store
    });
    let options_of = options(&file);
    let to = copy.clone();
    let copied = tokio::task::spawn_blocking(move || SqliteStore::backup(&options_of, &to));
    let verified = copied.await.unwrap().unwrap().expect("a store of this version");
    let store = writing.await.unwrap();
    assert!((before..=store.statistics().revision).contains(&verified.revision));
    assert_eq!((verified.differences.len(), verified.unchecked), (0, 0));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> = files(folder.path()).into_iter().map(|(name, _)| name).collect();
    assert!(
        names
            .iter()
            .all(|name| name == "copy.db" || name.starts_with("server.db")),
        "{names:?}"
    );
    let refused = SqliteStore::backup(&options(&file), &copy).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-STORE-0037");
    assert!(fs::metadata(&copy).unwrap().len() > 0, "the one that is there stays");
    let nowhere = SqliteStore::backup(&options(&file), &folder.path().join("no/copy.db")).unwrap_err();
    assert_eq!(nowhere.code().as_str(), "HM-STORE-0001");
    drop(store);
    // As another store than the one beside whose mark it lies it is refused, and opens as what it is.
    let place = tempfile::tempdir().unwrap();
    let restored = place.path().join("server.db");
    fs::rename(&copy, &restored).unwrap();
    let refused = SqliteStore::open(&options(&restored)).err().expect("refused");
    assert_eq!(refused.code().as_str(), "HM-STORE-0030");
    let opened = SqliteStore::open(&options(&restored).accept_rollback("uid:7", "the disk died")).unwrap();
    assert_eq!(opened.load().await.unwrap().revision, verified.revision + 1);
}

fn files(folder: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    all.filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_leaves_no_file_behind_and_changes_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.db");
    let store = SqliteStore::open(&options(&file)).unwrap();
    store.commit(happened(vec![accepted("a")])).await.unwrap();
    // While a server runs, its own files stay.
    verify(&file);
    assert!(folder.path().join("server.db-shm").exists());
    store.commit(happened(vec![accepted("b")])).await.unwrap();
    // As after a crash: a log with content, and no shared memory.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["server.db", "server.db-wal", "server.db.mark", "server.db.lock"] {
        let (from, to) = (folder.path().join(name), crashed.path().join(name));
        fs::copy(&from, &to).unwrap();
        // The mark knows the file by its time too.
        let times = fs::FileTimes::new().set_modified(fs::metadata(&from).unwrap().modified().unwrap());
        fs::File::options()
            .write(true)
            .open(&to)
            .unwrap()
            .set_times(times)
            .unwrap();
    }
    drop(store);
    for folder in [folder.path(), crashed.path()] {
        let before = files(folder);
        assert_eq!(verify(&folder.join("server.db")).revision, 2);
        assert!(files(folder) == before, "{}", folder.display());
    }
}

/// What somebody put into the schema, took out of an index, or wrote about the journal's begin, hides nothing.
#[tokio::test]
async fn a_schema_an_index_and_a_begin_that_are_others_are_found() {
    let mut template = Template::new().await;
    let change = |file: &Path, sql: &str| Connection::open(file).unwrap().execute_batch(sql).unwrap();
    for (sql, named) in [
        (
            "CREATE TRIGGER t AFTER UPDATE ON agents BEGIN SELECT 1; END",
            "the trigger t of agents is not the store's",
        ),
        ("CREATE VIEW v AS SELECT 1", "the view v of v is not the store's"),
        ("CREATE TABLE more (a)", "the table more of more is not the store's"),
        (
            "DROP INDEX journal_of_decisions",
            "the index journal_of_decisions of journal is missing",
        ),
        (
            "UPDATE meta SET value = '999999' WHERE key = 'whole_after'",
            "beyond the end of the journal",
        ),
    ] {
        let file = template.copy();
        change(&file, sql);
        let found = SqliteStore::verify(&options(&file)).unwrap_err();
        assert!(
            found.to_string().contains(named) || format!("{:?}", found.compared()).contains(named),
            "{sql}: {found:?}"
        );
        assert_eq!(found.code().as_str(), "HM-STORE-0006", "{sql}");
        let opened = SqliteStore::open(&options(&file)).err().expect("refused");
        assert_eq!(opened.code().as_str(), "HM-STORE-0006", "{sql}");
    }
    // The begin of the journal's changes, put behind some of them.
    let file = template.copy();
    change(
        &file,
        "UPDATE meta SET value = (SELECT max(revision) FROM journal) WHERE key = 'whole_after'",
    );
    assert!(
        verify(&file)
            .differences
            .iter()
            .any(|it| format!("{it:?}").contains("whole_after"))
    );
    // An index without its rows.
    let file = template.copy();
    change(
        &file,
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'WHERE', 'WHERE 0 AND') WHERE name = 'journal_of_decisions'; \
         PRAGMA writable_schema = RESET; REINDEX journal_of_decisions; PRAGMA writable_schema = ON; \
         UPDATE sqlite_schema SET sql = replace(sql, 'WHERE 0 AND', 'WHERE') WHERE name = 'journal_of_decisions';",
    );
    let found = verify(&file).differences;
    assert!(
        found.iter().any(|it| format!("{it:?}").contains("missing from index")),
        "{found:?}"
    );
    // The control.
    assert_eq!(verify(&template.copy()).differences, []);
}
