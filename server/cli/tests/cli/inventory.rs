//! The inventory.

use std::fs;

use crate::{
    fake::{NODE_A, NODE_B},
    run::Server,
};

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn an_import_tells_what_it_changes() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let header = "ek_sha256,serial,owner,labels,expires\n";
    let first = file(
        &folder,
        "a.csv",
        &format!("{header}{NODE_A},SN1,ops,site=berlin;rack=7,2030-01-31T00:00:00Z\n{NODE_B},SN2,ops,,\n"),
    );
    let rehearsed = server.run(&format!("inventory import {first} --dry-run"));
    let expected = format!("would change\nadded      2: {NODE_A}, …\nchanged    0\nunchanged  0\nremoved    0\n");
    assert_eq!(
        (rehearsed.code, rehearsed.stdout),
        (7, expected),
        "{}",
        rehearsed.stderr
    );
    assert_eq!(
        server.json("inventory list").as_array().unwrap().len(),
        0,
        "only a rehearsal"
    );
    assert_eq!(
        server.json(&format!("inventory import {first}"))["added"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // The same again changes nothing, and says so.
    let again = server.run(&format!("inventory import {first} --dry-run"));
    assert_eq!(again.code, 0, "{}", again.stdout);
    assert!(again.stdout.starts_with("would change nothing\n"), "{}", again.stdout);
    let list = server.run("inventory list").stdout;
    assert!(
        list.contains("3f9a00000000  pre-registered  SN1     ops    rack=7;site=berlin  2030-01-31T00:00:00Z"),
        "{list}"
    );

    let second = file(
        &folder,
        "b.json",
        &format!(r#"[{{"ek_sha256":"{NODE_A}","owner":"edge"}}]"#),
    );
    let unsure = server.run(&format!("inventory import {second} --replace"));
    assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""));
    assert_eq!(server.json("inventory list").as_array().unwrap().len(), 2);
    let done = server.json(&format!("inventory import {second} --replace --yes"));
    assert_eq!(
        (&done["changed"][0], &done["removed"][0]),
        (&NODE_A.into(), &NODE_B.into())
    );
}

#[test]
fn lines_that_have_expired_are_told() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = file(
        &folder,
        "a.csv",
        &format!("ek_sha256,expires\n{NODE_A},2020-01-31T00:00:00Z\n{NODE_B},\n"),
    );
    let done = server.run(&format!("inventory import {path} --dry-run"));
    assert!(
        done.stdout.ends_with(&format!(
            "expired    1: {NODE_A} (lines that have expired let nobody in; their labels still select policies)\n"
        )),
        "{}{}",
        done.stdout,
        done.stderr
    );
    assert_eq!(server.json(&format!("inventory import {path}"))["expired"][0], NODE_A);
}

#[test]
fn what_is_exported_can_be_imported() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let text = format!(
        "ek_sha256,serial,owner,labels,expires,class,manufacturer,model\n\
         {NODE_A},SN1,\"ops, team a\",rack=7;site=berlin,2030-01-31T00:00:00Z,firmware,id:494E5443,ADL\n{NODE_B},,,,,,,\n"
    );
    let path = file(&folder, "a.csv", &text);
    assert_eq!(server.run(&format!("inventory import {path}")).code, 0);
    assert_eq!(server.run("inventory export").stdout, text);
    let exported = server.run("inventory export --format json").stdout;
    assert_eq!(server.run("inventory export -o json").stdout, exported);
    let json = file(&folder, "a.json", &exported);
    let again = server.json(&format!("inventory import {json} --replace --dry-run"));
    assert_eq!(again["unchanged"], 2);
}

#[test]
fn a_fault_is_told_with_its_place() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = file(&folder, "a.csv", &format!("ek_sha256,owner\n{NODE_A},ops\nabc,ops\n"));
    let refused = server.run(&format!("inventory import {path}"));
    assert_eq!(refused.code, 2);
    assert!(
        refused
            .stderr
            .starts_with("HM-REG-0072: the inventory's file, line 3, column 1: not an EK hash"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        server.json("inventory list").as_array().unwrap().len(),
        0,
        "all or none"
    );
    let absent = server.run("inventory import /no/such/file.csv");
    assert!(
        absent.code == 2 && absent.stderr.starts_with("HM-CLI-0015"),
        "{}",
        absent.stderr
    );
}

#[test]
fn machines_are_taken_out_by_the_start_of_their_ek() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = file(&folder, "a.csv", &format!("ek_sha256\n{NODE_A}\n{NODE_B}\n"));
    assert_eq!(server.run(&format!("inventory import {path}")).code, 0);
    assert_eq!(server.run("inventory remove 3f9a").code, 2);
    assert_eq!(server.run("inventory remove 3f9a --dry-run").code, 7);
    assert_eq!(server.run("inventory remove 3f9 --yes").code, 6, "more than one");
    let removed = server.run("inventory remove 3f9a --yes");
    assert_eq!((removed.code, removed.stdout), (0, format!("removed {NODE_A}\n")));
    assert_eq!(server.run("inventory remove 3f9a --yes").code, 6);
    assert_eq!(server.json("inventory list").as_array().unwrap().len(), 1);
}

#[test]
fn several_eks_of_a_machine_go_out_as_they_came_in() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let first = file(&folder, "a.csv", &format!("ek_sha256,owner\n{NODE_A};{NODE_B},ops\n"));
    server.json(&format!("inventory import {first}"));
    let listed = server.run("inventory list").stdout;
    assert!(listed.contains("3f9a00000000 +1  pre-registered"), "{listed}");
    let csv = server.run("inventory export").stdout;
    assert!(csv.contains(&format!("{NODE_A};{NODE_B},,ops")), "{csv}");
    let exported = server.json("inventory export --format json");
    assert_eq!(exported[0]["ek_sha256"], serde_json::json!([NODE_A, NODE_B]));
    for (name, text) in [("b.csv", csv), ("b.json", exported.to_string())] {
        let again = server.run(&format!("inventory import {} --dry-run", file(&folder, name, &text)));
        assert_eq!(again.code, 0, "{name}: {}", again.stdout);
    }
}

/// The report of an import names each machine, so it is longer than what gRPC takes by itself.
#[test]
fn the_largest_file_is_imported() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let lines: String = (0..100_000).map(|machine| format!("{machine:064x}\n")).collect();
    let largest = file(&folder, "largest.csv", &format!("ek_sha256\n{lines}"));
    let imported = server.run(&format!("inventory import {largest} --timeout 120s"));
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    assert!(imported.stdout.contains("added      100000: "), "{}", imported.stdout);
}
