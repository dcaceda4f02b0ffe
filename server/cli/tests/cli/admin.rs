//! Status, bundle, HSM, doctor, configuration, completion.

use std::fs;

use hallmark_spiffe::Bundle;

use crate::{
    fake::td,
    run::{Server, program},
};

#[test]
fn status_tells_the_parts_and_fails_with_them() {
    let server = Server::start();
    let well = server.run("status");
    assert_eq!(well.code, 0);
    assert!(well.stdout.contains("trust domain  example.org\n"), "{}", well.stdout);
    let nodes = "nodes         4 active (1 not trusted, 1 with an expired SVID), 7 pre-registered, 2 pending, 1 banned, \
                 2 retired\n";
    assert!(
        well.stdout.contains(nodes),
        "each state is counted, none of which there is no node: {}",
        well.stdout
    );
    server.fake().state().hsm_ready = false;
    let ill = server.run("status");
    assert_eq!(ill.code, 1);
    assert!(
        ill.stdout.contains("hsm    FAILED  HM-HSM-0007 the token is away"),
        "{}",
        ill.stdout
    );
}

#[test]
fn bundles_come_in_both_forms() {
    let server = Server::start();
    let expected = server.fake().state().authorities.clone();
    let pem = server.run("bundle show --format pem").stdout;
    assert_eq!(
        Bundle::from_certificates(&td(), pem.as_bytes())
            .unwrap()
            .x509_authorities,
        expected
    );
    let jwks = Bundle::from_jwks(&td(), &server.run("bundle show --format spiffe").stdout).unwrap();
    assert_eq!((jwks.x509_authorities, jwks.sequence), (expected, 4));
    assert!(server.run("bundle show").stdout.contains("aabbcc"));
}

#[test]
fn the_hsm_is_shown_with_what_protects_its_keys() {
    let server = Server::start();
    assert_eq!(server.run("hsm status").code, 0);
    let keys = server.run("hsm keys").stdout;
    assert!(
        keys.contains("hallmark-x509-a  ec-p256  x509-authority, active  token    always     never"),
        "{keys}"
    );
    server.fake().state().hsm_ready = false;
    assert_eq!(server.run("hsm status").code, 4);
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let server = Server::start();
    let well = server.run("doctor");
    assert_eq!(well.code, 0, "{}", well.stdout);
    assert!(!well.stdout.contains("FAILED"));
    server.fake().state().key_extractable = true;
    let ill = server.run("doctor");
    assert_eq!(ill.code, 1);
    assert!(
        ill.stdout
            .contains("FAILED  key hallmark-x509-a  imported, or able to leave the token"),
        "{}",
        ill.stdout
    );
    server.fake().state().authorities.clear();
    assert!(server.run("doctor").stdout.contains("no X.509 authority"));
    let away = crate::run::run(std::path::Path::new("/nonexistent/admin.sock"), "doctor");
    assert_eq!(away.code, 4);
    assert!(away.stdout.contains("FAILED  socket"), "{}", away.stdout);
}

#[test]
fn reason_codes_are_explained_without_a_server() {
    let run = |line: &str| crate::run::run(std::path::Path::new("/nonexistent/admin.sock"), line);
    let one = run("reason hm-policy-0102");
    assert_eq!(one.code, 0, "{}", one.stderr);
    assert!(
        one.stdout.starts_with("HM-POLICY-0102: ")
            && one
                .stdout
                .contains("  cause  it was switched off in the firmware setup\n")
            && one.stdout.contains("  next   switch it on, reboot\n"),
        "{}",
        one.stdout
    );
    let json: serde_json::Value = serde_json::from_str(&run("reason HM-POLICY-0102 -o json").stdout).unwrap();
    assert_eq!(json["next_step"], "switch it on, reboot");
    let several: serde_json::Value = serde_json::from_str(&run("reason HM-STORE-000 -o json").stdout).unwrap();
    assert_eq!(several.as_array().unwrap().len(), 9, "{several}");
    assert!(
        run("reason HM-STORE")
            .stdout
            .starts_with("CODE           MEANING\nHM-STORE-0001  ")
    );
    let wrong = run("reason HM-POLCY-0102");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (6, ""));
    assert_eq!(
        wrong.stderr,
        "HM-CLI-0022: there is no reason code HM-POLCY-0102\n  compared: the nearest is HM-POLICY-0102\n  cause: a typo, or a \
         code of another version\n  next: hallmark reason HM-POLICY-0102\n"
    );
}

#[test]
fn completions_are_made_for_shells() {
    let server = Server::start();
    for shell in ["bash", "zsh", "fish"] {
        let done = server.run(&format!("completion {shell}"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        assert!(done.stdout.contains("hallmark") && done.stdout.contains("entry"));
    }
    assert_eq!(server.run("completion tcsh").code, 2);
}

/// Has a program made by another process. One that this process wrote could not be run while a child of another test, born
/// meanwhile, still holds the file open for writing.
fn made_by(words: &[&str], file: &std::path::Path) {
    let status = std::process::Command::new(words[0])
        .args(&words[1..])
        .arg(file)
        .status();
    assert!(status.unwrap().success(), "{words:?}");
}

/// The file is judged by the program that it is for; here scripts stand in its place and show what they were asked.
#[test]
fn configuration_files_go_to_their_own_program() {
    let folder = tempfile::tempdir().unwrap();
    for (name, exit) in [("hallmark-server", 0), ("hallmark-agent", 2)] {
        let script = format!("#!/bin/sh\necho \"{name} $*\" >&2\nexit {exit}\n");
        made_by(
            &["sh", "-c", "printf %s \"$1\" > \"$2\"; chmod 755 \"$2\"", "sh", &script],
            &folder.path().join(name),
        );
    }
    // A copy, so that no program lies beside it.
    let own = folder.path().join("bin");
    fs::create_dir(&own).unwrap();
    made_by(&["cp", env!("CARGO_BIN_EXE_hallmark")], &own.join("hallmark"));
    let check = |file: &str, text: &str, more: &[&str]| {
        let file = folder.path().join(file);
        fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(own.join("hallmark"));
        let output = command
            .env("PATH", folder.path())
            .args(["config", "check"])
            .arg(&file)
            .args(more)
            .output();
        crate::run::Done::from(output.unwrap())
    };
    let server = check("a.toml", "version = 1\n[listen]\n[attestation.tpm2]\n", &[]);
    assert_eq!(server.code, 0);
    assert!(
        server.stderr.starts_with("hallmark-server config check --config /"),
        "{}",
        server.stderr
    );
    assert!(server.stdout.starts_with("ok /") && server.stdout.contains("(server configuration)"));
    let agent = check("b.toml", "version = 1\n[server]\n[tpm]\n", &["-o", "json"]);
    assert_eq!((agent.code, agent.stderr.as_str()), (2, ""));
    let told: serde_json::Value = serde_json::from_str(&agent.stdout).unwrap();
    assert_eq!((&told["kind"], &told["ok"]), (&"agent".into(), &false.into()));
    assert!(
        told["report"]
            .as_str()
            .unwrap()
            .starts_with("hallmark-agent config check")
    );
    let neither = check("c.toml", "version = 1\n", &[]);
    assert!(
        neither.code == 2 && neither.stderr.contains("HM-CLI-0016"),
        "{}",
        neither.stderr
    );
    assert_eq!(check("c.toml", "version = 1\n", &["--kind", "server"]).code, 0);
    fs::remove_file(folder.path().join("hallmark-server")).unwrap();
    let missing = check("a.toml", "[hsm]\n", &[]);
    assert!(
        missing.code == 1 && missing.stderr.contains("HM-CLI-0017"),
        "{}",
        missing.stderr
    );
    let absent = program(std::path::Path::new("/x"))
        .args(["config", "check", "/nonexistent.toml"])
        .output()
        .unwrap();
    assert_eq!(crate::run::Done::from(absent).code, 2);
}

#[test]
fn records_are_listed_in_words() {
    let server = Server::start();
    let all = server.run("record list");
    let expected = "RECORD  TIME                  SUBJECT       OUTCOME  CODE            WHAT
7       2026-11-23T00:00:00Z  3f9a00000000  refused  HM-POLICY-0003  the EK is denied
8       2026-11-23T00:00:00Z  3f9a00000000  done                     suspend, active -> suspended, by uid:0, reason: rack 7
";
    assert_eq!((all.code, all.stdout.as_str()), (0, expected), "{}", all.stderr);
    for (line, count) in [
        ("record list 3f9a", 2),
        ("record list 3f9a --kind verdict", 1),
        ("record list --limit 1", 1),
        ("record list policy:edge", 0),
        // A machine that was never let in.
        (&format!("record list {}", "7".repeat(64)), 0),
    ] {
        assert_eq!(server.json(line).as_array().unwrap().len(), count, "{line}");
    }
    let unknown = server.run("record list 7777");
    assert_eq!(unknown.code, 6);
    assert!(
        unknown.stderr.ends_with("next: hallmark record list\n"),
        "{}",
        unknown.stderr
    );
    // Entries: by the start of the id, and by the whole id of one that was deleted.
    let server = crate::entries::filled();
    for entry in ["web", "we", "deleted"] {
        let told = server.run(&format!("record list {entry}"));
        assert!(
            told.code == 0 && told.stdout.contains("entry-created, by uid:0"),
            "{entry}: {}{}",
            told.stdout,
            told.stderr
        );
    }
    assert_eq!(server.run("record list delete").code, 6);
    assert_eq!(server.run("record list --limit 0").code, 2);
    for verb in ["list", "export"] {
        let reversed = server.run(&format!(
            "record {verb} --since 2026-11-02T00:00:00Z --until 2026-11-01T00:00:00Z"
        ));
        assert_eq!((reversed.code, reversed.stdout.as_str()), (2, ""));
        let words = "HM-CLI-0026: no record can be in this span of time: it ends before it begins\n  compared: since \
                     2026-11-02T00:00:00Z, until 2026-11-01T00:00:00Z\n";
        assert!(reversed.stderr.starts_with(words), "{}", reversed.stderr);
        assert_eq!(
            server.run(&format!("record {verb} --since 3h --until 2h")).code,
            0,
            "the control"
        );
    }
    let date = server.run("record list --since 2026-11-02");
    assert!(
        date.code == 2
            && date
                .stderr
                .contains("a date with a time of day and its zone, as in 2027-01-31T00:00:00Z"),
        "{}",
        date.stderr
    );
}

#[test]
fn records_are_paged_filtered_by_time_and_exported() {
    let server = Server::start();
    let sequences = |line: &str| -> Vec<u64> {
        let list = server.json(line);
        let records = list.as_array().unwrap().iter();
        records.map(|record| record["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences("record list"), [7, 8]);
    assert_eq!(sequences("record list --limit 1"), [8]);
    assert_eq!(sequences("record list --limit 1 --before 8"), [7]);
    assert_eq!(sequences("record list --since 2026-11-23T00:00:00Z"), [7, 8]);
    assert!(sequences("record list --since 2026-11-23T00:00:01Z").is_empty());
    assert!(sequences("record list --until 2026-11-23T00:00:00Z").is_empty());
    assert!(sequences("record list --since 1s").is_empty());
    assert_eq!(server.run("record list --since yesterday").code, 2);
    let export = server.run("record export");
    let lines: Vec<serde_json::Value> = export
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (lines.len(), &lines[0]["sequence"], &lines[1]["sequence"]),
        (2, &7.into(), &8.into())
    );
    let rest = server.run("record export --after 7 --kind admin");
    assert_eq!(rest.stdout.lines().count(), 1, "{}", rest.stdout);
}
