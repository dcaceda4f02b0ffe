//! Entries.

use serde_json::Value;

use crate::{
    fake::{NODE_A, NODE_B},
    run::Server,
};

fn ids(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect()
}

/// web and log on node A; db below the alias of every simulator.
pub(crate) fn filled() -> Server {
    let server = Server::start();
    for line in [
        "--id web --spiffe-id /web --node 3f9a --selector unix:uid:33 --selector unix:gid:33",
        "--id log --spiffe-id example.org:/log --parent-id /web --selector unix:uid:1",
        "--id edge --spiffe-id /nodes/edge --parent-id /spire/server --selector tpm2:class:simulator",
        "--id db --spiffe-id spiffe://example.org/db --parent-id /nodes/edge --selector unix:uid:999",
    ] {
        let done = server.run(&format!("entry create {line}"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{line}");
    }
    server
}

#[test]
fn ids_are_read_in_three_forms_and_lists_span_pages() {
    let server = filled();
    let all = server.json("entry list");
    assert_eq!(ids(&all), ["db", "edge", "log", "web"]);
    assert_eq!(all[0]["spiffe_id"], "spiffe://example.org/db");
    assert_eq!(all[2]["spiffe_id"], "spiffe://example.org/log");
    assert_eq!(
        all[3]["parent_id"],
        format!("spiffe://example.org/spire/agent/tpm2/{NODE_A}")
    );
}

#[test]
fn lists_are_filtered() {
    let server = filled();
    assert_eq!(ids(&server.json("entry list --parent-id /web")), ["log"]);
    assert_eq!(ids(&server.json("entry list --spiffe-id /db")), ["db"]);
    assert_eq!(ids(&server.json("entry list --selector unix:uid:33")), ["web"]);
    assert!(ids(&server.json("entry list --selector unix:uid:33 --match exact")).is_empty());
    assert_eq!(
        ids(&server.json("entry list --selector unix:uid:33 --selector unix:uid:1 --match any")),
        ["log", "web"]
    );
    assert!(ids(&server.json("entry list --hint nothing")).is_empty());
    assert!(ids(&server.json("entry list --downstream")).is_empty());
}

#[test]
fn match_tells_what_a_process_would_get() {
    let server = filled();
    assert_eq!(
        ids(&server.json("entry match --selector unix:uid:33 --selector unix:gid:33 --selector unix:path:/x")),
        ["web"]
    );
    let none = server.run("entry match --selector unix:uid:33");
    assert_eq!((none.code, none.stderr.trim()), (6, "no entry matches"));
}

#[test]
fn match_tells_what_a_node_would_serve() {
    let server = filled();
    assert_eq!(
        ids(&server.json(&format!("entry match --node {NODE_A}"))),
        ["db", "log", "web"]
    );
    assert_eq!(ids(&server.json(&format!("entry match --node {NODE_B}"))), ["db"]);
    assert_eq!(
        ids(&server.json("entry match --node 3f9b --selector unix:uid:999")),
        ["db"]
    );
    assert_eq!(server.run("entry match --node 3f9b --selector unix:uid:33").code, 6);
}

#[test]
fn a_similar_entry_is_a_conflict_also_when_rehearsed() {
    let server = filled();
    let line = "entry create --spiffe-id /db --parent-id /nodes/edge --selector unix:uid:999";
    for line in [line.to_owned(), format!("{line} --dry-run")] {
        let again = server.run(&line);
        assert_eq!((again.code, again.stdout.as_str()), (6, ""), "{line}");
        assert!(
            again.stderr.starts_with("HM-CLI-0014: similar entry already exists"),
            "{}",
            again.stderr
        );
        assert!(again.stderr.contains("next: hallmark entry show db"));
    }
}

#[test]
fn a_rehearsed_entry_is_not_kept() {
    let server = filled();
    let line = "entry create --spiffe-id /new --node 3f9a --selector unix:uid:5";
    let rehearsed = server.run(&format!("{line} --dry-run"));
    assert_eq!((rehearsed.code, rehearsed.stderr.as_str()), (7, ""));
    assert!(rehearsed.stdout.starts_with("would create\n"), "{}", rehearsed.stdout);
    assert_eq!(server.fake().state().registry.len(), 4);
    assert_eq!(server.run(line).code, 0);
    assert_eq!(server.fake().state().registry.len(), 5);
}

#[test]
fn wrong_entries_are_refused_alike_by_rehearsal_and_server() {
    let server = filled();
    for (line, code) in [
        (
            "--spiffe-id /spire/server --parent-id /web --selector unix:uid:1",
            "HM-REG-0005",
        ),
        (
            "--spiffe-id other.org:/a --parent-id /web --selector unix:uid:1",
            "HM-REG-0003",
        ),
        (
            "--spiffe-id /a --parent-id /web --selector unix:uid:1 --dns a_b",
            "HM-REG-0012",
        ),
    ] {
        for line in [format!("entry create {line}"), format!("entry create {line} --dry-run")] {
            let done = server.run(&line);
            assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{line}");
            assert!(done.stderr.starts_with(code), "{line}: {}", done.stderr);
        }
    }
    let friend = "entry create --spiffe-id /a --parent-id /web --selector unix:uid:1 --federates-with friend.org";
    assert!(
        server
            .run(&format!("{friend} --dry-run"))
            .stderr
            .starts_with("HM-REG-0016")
    );
}

#[test]
fn what_is_typed_wrong_never_reaches_the_server() {
    let server = filled();
    for (line, says) in [
        (
            "entry create --spiffe-id /a/ --parent-id /web --selector unix:uid:1",
            "HM-ID-0007",
        ),
        (
            "entry create --spiffe-id /a --parent-id web --selector unix:uid:1",
            "HM-ID-0001",
        ),
        (
            "entry create --spiffe-id /a --parent-id /web --selector unix",
            "HM-ID-0020",
        ),
        ("entry create --spiffe-id /a --parent-id /web", "--selector"),
        ("entry create --spiffe-id /a --selector unix:uid:1", "--parent-id"),
        (
            "entry create --spiffe-id /a --parent-id /b --node 3f9a --selector unix:uid:1",
            "cannot be used with",
        ),
        (
            "entry create --spiffe-id /a --parent-id /web --selector unix:uid:1 --ttl soon",
            "duration",
        ),
        (
            "entry create --spiffe-id /a --parent-id /web --selector unix:uid:1 --expires-at soon",
            "time",
        ),
        ("entry match", "--selector"),
    ] {
        let done = server.run(line);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{line}");
        assert!(done.stderr.contains(says), "{line}: {}", done.stderr);
    }
    assert_eq!(server.fake().state().registry.len(), 4);
}

#[test]
fn deleting_needs_a_yes() {
    let server = filled();
    let unsure = server.run("entry delete web");
    assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""));
    assert!(unsure.stderr.contains("HM-CLI-0013"));
    assert_eq!(server.run("entry delete web --dry-run").code, 7);
    assert_eq!(server.fake().state().registry.len(), 4);
    let sure = server.run("entry delete we log --yes");
    assert_eq!((sure.code, sure.stderr.as_str()), (0, ""));
    assert!(sure.stdout.contains("delete web spiffe://example.org/web\n"));
    assert_eq!(ids(&server.json("entry list")), ["db", "edge"]);
    assert_eq!(server.run("entry delete web --yes").code, 6);
}

#[test]
fn entries_are_found_by_the_start_of_their_id() {
    let server = filled();
    assert_eq!(server.json("entry show ed")["id"], "edge");
    assert_eq!(
        server
            .run("entry create --id edge2 --spiffe-id /e --parent-id /web --selector unix:uid:7")
            .code,
        0
    );
    assert_eq!(server.json("entry show edge")["id"], "edge");
    let unclear = server.run("entry show ed");
    assert_eq!(unclear.code, 6);
    assert!(
        unclear.stderr.contains("HM-CLI-0012") && unclear.stderr.contains("edge, edge2"),
        "{}",
        unclear.stderr
    );
    let nothing = server.run("entry show q");
    assert!(nothing.code == 6 && nothing.stderr.contains("HM-CLI-0011"));
}
