//! Stores and data folders that cannot be used.

use crate::kept::{Kept, UNEXPECTED};
use crate::trial::{DOMAIN, entry, register};
use std::path::{Path, PathBuf};

const WRITABLE: &str = "and give the server's user write access";

/// Changes the store as another program would.
fn change(store: &Path, sql: &str) {
    let raw = rusqlite::Connection::open(store).unwrap();
    raw.execute_batch(sql).unwrap();
}

/// Puts a copy of the store's files aside; the second call brings it back.
struct Backup(PathBuf, PathBuf);

impl Backup {
    fn of(kept: &mut Kept) -> Self {
        let backup = Self(kept.data(), kept.path("backup"));
        copy(&backup.0, &backup.1);
        backup
    }

    fn restore(&self) {
        std::fs::remove_dir_all(&self.0).unwrap();
        copy(&self.1, &self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_store_of_a_newer_version_is_told_and_left_alone() {
    let mut kept = Kept::filled();
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    let version = |store: &Path| -> i64 {
        let raw = rusqlite::Connection::open(store).unwrap();
        raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    let known = version(&store);
    change(&store, "PRAGMA user_version = 99");
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-STORE-0008: the store {} was written by a newer version\n  compared: schema version 99, this program knows up \
             to {known}\n  cause: the server was downgraded\n  next: run the newer version again, or restore the backup made \
             before it",
            store.display()
        ),
    );
    assert_eq!(version(&store), 99);
    change(&store, &format!("PRAGMA user_version = {known}"));
    kept.must_go_on();
}

#[test]
fn a_store_of_another_trust_domain_is_told() {
    let mut kept = Kept::filled();
    let store = kept.data().join("server.db");
    let config = kept.with("", "trust_domain", "another.example");
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-STORE-0009: the store {} belongs to another trust domain\n  compared: store of {DOMAIN}, configured \
             another.example\n  cause: trust_domain was changed, or data_dir is another server's\n  next: set trust_domain \
             back, or choose an empty data_dir",
            store.display()
        ),
    );
    kept.must_go_on();
}

#[test]
fn a_second_server_on_the_same_store_is_told_and_the_first_goes_on() {
    let mut kept = Kept::filled();
    let store = kept.data().join("server.db");
    let socket = kept.path("second.sock").display().to_string();
    let mut second = kept.with("listen", "admin_socket", socket);
    let listen = second.get_mut("listen").unwrap().as_table_mut().unwrap();
    listen.insert("address".into(), "127.0.0.1:0".into());
    kept.trial.lab.start_server().unwrap();
    let before = kept.held();
    kept.must_refuse(
        &second,
        UNEXPECTED,
        &format!(
            "HM-STORE-0005: another hallmark-server uses the store {0}\n  cause: the server is running, or a second one was \
             started with the same data_dir\n  next: fuser {0}; stop the server, or one of the two",
            store.display()
        ),
    );
    assert_eq!(kept.held(), before);
    assert!(!kept.path("second.sock").exists(), "it takes its socket away again");
    // Nobody but the first is in the way.
    kept.trial.lab.server().stop();
    kept.must_go_on();
}

#[test]
fn a_store_that_another_program_holds_is_waited_for_and_told() {
    let mut kept = Kept::filled();
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    let other = rusqlite::Connection::open(&store).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-STORE-0004: the store {0} is locked by another program\n  cause: a backup or a sqlite3 shell holds a \
             transaction open on the file\n  next: fuser {0}; end the program that holds it",
            store.display()
        ),
    );
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    kept.must_go_on();
}

#[test]
fn a_file_that_is_no_store_is_told_and_left_alone() {
    let mut kept = Kept::filled();
    let theirs = kept.data().join("theirs.db");
    change(&theirs, "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
    let text = kept.data().join("notes.txt");
    std::fs::write(&text, "a text of some length, which is no database. ".repeat(100)).unwrap();
    for path in [theirs, text] {
        let before = std::fs::read(&path).unwrap();
        let config = kept.with("store", "path", path.display().to_string());
        kept.must_refuse(
            &config,
            UNEXPECTED,
            &format!(
                "HM-STORE-0007: {} is not a Hallmark store\n  cause: [store] path names a file of another program\n  next: \
                 set [store] path to the server's store; if this was it, restore a backup",
                path.display()
            ),
        );
        assert!(
            std::fs::read(&path).unwrap() == before,
            "{} was changed",
            path.display()
        );
    }
    kept.must_go_on();
}

#[test]
fn a_damaged_store_is_told_and_its_backup_serves() {
    let mut kept = Kept::filled();
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    let backup = Backup::of(&mut kept);
    // What stands in the write-ahead log as well would not be missed.
    change(&store, "PRAGMA journal_mode = DELETE");
    let mut bytes = std::fs::read(&store).unwrap();
    // All but the first page, which holds the header and the schema.
    bytes.get_mut(4096..).unwrap().fill(0xa5);
    std::fs::write(&store, bytes).unwrap();
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-STORE-0006: the store {} is damaged\n  compared: *\n  cause: a failing disk, the file was copied while in use, or \
             another program changed it: a trigger, an index, a row that is gone\n  next: stop the server and restore a backup (docs/how-to/runbook.md#back-up-and-restore)",
            store.display()
        ),
    );
    backup.restore();
    kept.must_go_on();
    change(&store, "UPDATE authority_certificates SET state = 'none'");
    kept.must_refuse(
        &config,
        UNEXPECTED,
        "HM-STORE-0011: what is stored as row * of the table authority_certificates does not read back\n  compared: state none\n  \
         cause: the database was changed by another program, or the disk is failing\n  next: stop the server and restore a backup \
         (docs/how-to/runbook.md#back-up-and-restore); hallmark-server doctor tells what else differs",
    );
    backup.restore();
    kept.must_go_on();
}

/// Whatever would change what is written, and an authority that is gone: neither is served, and no other one is made.
#[test]
fn a_store_with_a_trigger_or_without_its_authority_is_told_and_not_served() {
    let mut kept = Kept::filled();
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    let backup = Backup::of(&mut kept);
    let unban = "CREATE TRIGGER t AFTER INSERT ON agents WHEN new.state = 'banned' BEGIN UPDATE agents SET state = 'active'; END";
    for (forged, compared) in [
        (unban, "the trigger t of agents is not the store's"),
        (
            "DELETE FROM authority_certificates",
            "it has no authority, and a bundle with the sequence number 2",
        ),
    ] {
        change(&store, forged);
        let refusal = format!(
            "HM-STORE-0006: the store * is damaged\n  compared: {compared}\n  cause: *\n  next: stop the server and *"
        );
        kept.must_refuse(&config, UNEXPECTED, &refusal);
        let (exit, said) = kept.program(&["doctor"]);
        assert!(exit == Some(UNEXPECTED) && said.contains("FAIL"), "{said}");
        backup.restore();
        kept.must_go_on();
    }
}

#[test]
fn an_entry_that_was_damaged_or_forged_costs_itself_alone_and_is_told_by_all_who_look() {
    let mut kept = Kept::filled();
    let store = kept.data().join("server.db");
    let backup = Backup::of(&mut kept);
    for forged in [
        "UPDATE entries SET selectors = 'none'".to_owned(),
        format!("UPDATE entries SET spiffe_id = 'spiffe://{DOMAIN}/spire/server'"),
    ] {
        change(&store, &forged);
        let (exit, said) = kept.program(&["doctor"]);
        assert_eq!(exit, Some(UNEXPECTED), "{said}");
        assert!(
            said.contains("FAIL  tables: HM-STORE-00") && said.contains("FAIL  entries: HM-SRV-0038"),
            "{said}"
        );
        kept.trial.lab.start_server().unwrap();
        let (exit, said) = kept.health();
        assert!(
            exit == Some(0) && said.contains("HM-SRV-0038"),
            "the others are served: {said}"
        );
        assert!(kept.trial.lab.server().log().contains("HM-SRV-0038"));
        assert!(kept.held().entries.is_empty(), "it is not served");
        kept.trial.lab.server().stop();
        backup.restore();
        kept.must_go_on();
        let (_, said) = kept.program(&["doctor"]);
        assert!(
            said.contains("ok    tables: ") && !said.contains("HM-SRV-0038"),
            "{said}"
        );
    }
}

/// A command of the operator's program: how it ended, what it gave, and what it said.
fn hallmark(kept: &mut Kept, words: &[&str]) -> (Option<i32>, Vec<u64>, String) {
    let out = hallmark_kit::hallmark(&kept.trial.lab.server().admin_socket(), words).unwrap();
    let given = String::from_utf8(out.stdout).unwrap();
    // A list is one value, an export one a line.
    let records: Vec<serde_json::Value> = match serde_json::from_str(&given) {
        Ok(serde_json::Value::Array(records)) => records,
        _ => given.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    let numbers = records.iter().map(|record| record["sequence"].as_u64().unwrap());
    (
        out.status.code(),
        numbers.collect(),
        String::from_utf8(out.stderr).unwrap(),
    )
}

#[test]
fn a_row_of_the_journal_that_does_not_read_back_hides_its_own_events_alone() {
    let mut kept = Kept::filled();
    let store = kept.data().join("server.db");
    kept.trial.lab.start_server().unwrap();
    let agent = format!("spiffe://{DOMAIN}/spire/agent/tpm2/none");
    for number in 0..6 {
        let path = format!("/number/{number}");
        register(&kept.trial.lab.server().admin_socket(), entry(&agent, &path)).unwrap();
    }
    let (exit, all, said) = hallmark(&mut kept, &["record", "export"]);
    assert!(exit == Some(0) && said.is_empty(), "the control: {said}");
    let last = *all.last().unwrap();
    assert_eq!(all, (1..=last).collect::<Vec<_>>());
    kept.trial.lab.server().stop();
    // Behind the mark up to which a start reads; each of the entries has a row and an event.
    change(
        &store,
        "INSERT OR REPLACE INTO meta SELECT 'settled_event', max(first_event + events) FROM journal; \
         UPDATE journal SET payload = x'ffff' WHERE revision = (SELECT max(revision) - 3 FROM journal)",
    );
    let bad = last - 3;
    kept.trial.lab.start_server().unwrap();
    for words in [
        ["record", "export", "--kind", "admin"].as_slice(),
        &["record", "export"],
    ] {
        let (exit, before, said) = hallmark(&mut kept, words);
        assert_eq!(exit, Some(UNEXPECTED), "{said}");
        assert!(
            said.starts_with("HM-STORE-0035: row ") && said.contains(&format!("--after {bad}")),
            "{said}"
        );
        assert!(
            before.last() == Some(&(bad - 1)) && !said.contains("cannot record"),
            "{before:?}"
        );
    }
    let from = bad.to_string();
    let (exit, after, said) = hallmark(&mut kept, &["record", "export", "--after", &from]);
    assert!(exit == Some(0) && said.is_empty(), "{said}");
    // The start has recorded its own SVID since.
    assert!(after.starts_with(&(bad + 1..=last).collect::<Vec<_>>()), "{after:?}");
    let (exit, newest, said) = hallmark(&mut kept, &["record", "list", "-o", "json"]);
    assert!(
        exit == Some(UNEXPECTED) && said.contains(&format!("--before {bad}")),
        "{said}"
    );
    assert_eq!(newest, after);
    kept.trial.lab.server().stop();
    let (_, said) = kept.program(&["doctor"]);
    assert!(said.contains("FAIL  journal: HM-STORE-0006"), "{said}");
}

#[test]
fn a_place_that_cannot_hold_a_store_is_told() {
    let mut kept = Kept::filled();
    let file = kept.file("file", "");
    for path in [kept.data().join("no").join("such").join("server.db"), kept.data()] {
        let config = kept.with("store", "path", path.display().to_string());
        kept.must_refuse(
            &config,
            UNEXPECTED,
            &format!(
                "HM-STORE-0001: cannot open the store {}\n  compared: *\n  cause: the folder is missing, or the server's user \
                 may not write in it\n  next: ls -ld {} {WRITABLE}",
                path.display(),
                path.parent().unwrap().display()
            ),
        );
    }
    for path in [file.clone(), file.join("data")] {
        let config = kept.with("", "data_dir", path.display().to_string());
        kept.must_refuse(
            &config,
            UNEXPECTED,
            &format!(
                "HM-SRV-0004: the data folder {} cannot be used\n  compared: *\n  cause: *\n  next: ls -ld {}",
                path.display(),
                path.parent().unwrap().display()
            ),
        );
    }
    kept.must_go_on();
}
