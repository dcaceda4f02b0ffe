//! Disks that are full or read-only, at a start and under a running server.

use crate::disk::Disk;
use crate::kept::{Kept, UNEXPECTED, UNREACHABLE};
use crate::trial::{DOMAIN, entry, entry_ids, must_report, register};
use std::collections::BTreeSet;
use std::path::Path;

fn full(store: &Path) -> String {
    format!(
        "HM-STORE-0003: no space left to write the store {}\n  cause: the disk, a quota or the size limit of the store is \
         exhausted\n  next: df {}; free some space there: a running server goes on by itself, a \
         stopped one is started again",
        store.display(),
        store.parent().unwrap().display()
    )
}

/// A server whose data folder is a small disk of its own.
fn on_small_disk() -> Option<(Kept, Disk)> {
    let mut kept = Kept::new();
    let (data, log) = (kept.data(), kept.path("disk.log"));
    let disk = Disk::over(&data, 4096, &log)?;
    kept.launch_through(disk.launcher());
    Some((kept, disk))
}

#[test]
fn a_disk_that_is_full_at_the_start_is_told() {
    let Some((mut kept, disk)) = on_small_disk() else {
        return;
    };
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    disk.fill();
    kept.must_refuse(&config, UNEXPECTED, &full(&store));
    disk.free();
    kept.fill();
    // Too little for one part of the start after the other.
    for pages in [0, 1, 3] {
        disk.fill_but(pages);
        kept.must_refuse(&config, UNEXPECTED, &full(&store));
        disk.free();
    }
    kept.must_go_on();
}

#[test]
fn a_disk_that_is_read_only_is_told() {
    let Some((mut kept, disk)) = on_small_disk() else {
        return;
    };
    let (config, store) = (kept.config(), kept.data().join("server.db"));
    let read_only = format!(
        "HM-STORE-0002: the store {} is read-only\n  cause: file or folder belong to another user, or the file system is \
         mounted read-only\n  next: ls -ld {} and give the server's user write access",
        store.display(),
        store.parent().unwrap().display()
    );
    disk.remount("ro");
    kept.must_refuse(&config, UNEXPECTED, &read_only);
    let missing = kept.data().join("missing");
    let elsewhere = kept.with("", "data_dir", missing.display().to_string());
    kept.must_refuse(
        &elsewhere,
        UNEXPECTED,
        &format!(
            "HM-SRV-0004: the data folder {} cannot be used\n  compared: Read-only file system (os error 30)\n  cause: *\n  \
             next: ls -ld {}",
            missing.display(),
            missing.parent().unwrap().display()
        ),
    );
    disk.remount("rw");
    kept.fill();
    disk.remount("ro");
    kept.must_refuse(&config, UNEXPECTED, &read_only);
    disk.remount("rw");
    kept.must_go_on();
}

#[test]
fn a_disk_that_fills_under_a_running_server_is_told_and_it_goes_on_once_there_is_room() {
    let Some((mut kept, disk)) = on_small_disk() else {
        return;
    };
    kept.fill();
    kept.trial.lab.start_server().unwrap();
    let socket = kept.trial.lab.server().admin_socket();
    let agent = format!("spiffe://{DOMAIN}/spire/agent/tpm2/none");
    let mut acknowledged = entry_ids(&socket);
    let mut number = 0;
    let mut register_next = || {
        number += 1;
        register(&socket, entry(&agent, &format!("/number/{number}")))
    };
    acknowledged.insert(register_next().unwrap());
    disk.fill();
    // The write-ahead log may have some room within itself, and gives it once it was folded into the file.
    let mut refused = 0;
    while refused < 3 {
        match register_next() {
            Ok(id) => {
                refused = 0;
                assert!(acknowledged.insert(id) && acknowledged.len() < 5000);
            }
            Err(said) => {
                refused += 1;
                assert_eq!(said, "the server cannot record this now (HM-STORE-0003)");
            }
        }
    }
    let said = kept.must_become(UNEXPECTED);
    assert!(said.contains("HM-STORE-0003"), "{said}");
    must_report(&said, "HM-SRV-0009", &[]);
    assert_eq!(entry_ids(&socket), acknowledged, "it still tells what it has");
    assert!(kept.trial.lab.server().log().contains("HM-STORE-0003"));
    let pid = kept.trial.lab.server().pid();

    disk.free();
    acknowledged.insert(register_next().unwrap());
    assert!(!kept.must_become(0).contains("HM-STORE-"));
    assert_eq!(kept.trial.lab.server().pid(), pid, "without a new start");
    kept.trial.lab.server().process().unwrap().kill();
    kept.trial.lab.start_server().unwrap();
    let found: BTreeSet<String> = entry_ids(&socket);
    assert_eq!(found, acknowledged, "whatever was acknowledged, and nothing else");
}

#[test]
fn a_disk_with_hardly_any_room_is_told_before_a_change_fails() {
    let Some((mut kept, disk)) = on_small_disk() else {
        return;
    };
    kept.fill();
    kept.trial.lab.start_server().unwrap();
    assert!(!kept.must_become(0).contains("HM-STORE-"), "the control");
    // Room for many small changes, and for no large one.
    disk.fill_but(200);
    let said = kept.must_become(UNEXPECTED);
    assert!(said.contains("HM-STORE-0003"), "{said}");
    let agent = format!("spiffe://{DOMAIN}/spire/agent/tpm2/none");
    register(&kept.trial.lab.server().admin_socket(), entry(&agent, "/small")).unwrap();
    disk.free();
    kept.must_become(0);
}

#[test]
fn a_full_disk_behind_the_token_is_told_and_makes_no_half_authority() {
    let mut kept = Kept::new();
    let (tokens, log) = (kept.trial.lab.server().token().tokens(), kept.path("disk.log"));
    let aside = kept.path("tokens");
    let copied = |from: &Path, to: &Path| {
        let source = format!("{}/.", from.display());
        let status = std::process::Command::new("cp").args(["-a", &source]).arg(to).status();
        assert!(status.unwrap().success());
    };
    std::fs::create_dir(&aside).unwrap();
    copied(&tokens, &aside);
    let Some(disk) = Disk::over(&tokens, 1024, &log) else {
        return;
    };
    copied(&aside, &disk.inside());
    kept.launch_through(disk.launcher());
    let config = kept.config();
    disk.fill();
    kept.must_refuse(
        &config,
        UNREACHABLE,
        "HM-HSM-0008: the token \"hallmark-lab\" has no space for another key\n  cause: old keys were never removed, or the \
         disk behind the token is full or read-only\n  next: hallmark hsm keys, and destroy what is no longer used",
    );
    disk.free();
    kept.fill();
    kept.must_go_on();
}
