//! Entries by a file, and changes of single ones.

use std::{fs, path::Path};

use serde_json::json;

use crate::{entries::filled, fake::NODE_A, run::Server};

fn written(folder: &Path, text: &str) -> String {
    let file = folder.join("entries.yaml");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn an_export_applied_changes_nothing_in_either_form() {
    let server = filled();
    let folder = tempfile::tempdir().unwrap();
    for form in ["table", "yaml", "json"] {
        let export = server.run(&format!("entry export -o {form}"));
        assert_eq!((export.code, export.stderr.as_str()), (0, ""));
        let file = written(folder.path(), &export.stdout);
        let applied = server.run(&format!("entry apply -f {file} --prune --dry-run"));
        assert_eq!(
            (applied.code, applied.stderr.as_str()),
            (0, ""),
            "{form}: {}",
            applied.stdout
        );
        assert_eq!(
            applied.stdout,
            "would be created: 0, updated: 0, deleted: 0; unchanged: 4\n"
        );
    }
}

#[test]
fn a_file_creates_updates_and_with_prune_deletes() {
    let server = filled();
    let folder = tempfile::tempdir().unwrap();
    // web by its id with another selector; db by what it says with another lifetime; one more; log and edge left out.
    let file = written(
        folder.path(),
        &format!(
            "entries:\n\
             - id: web\n  spiffe_id: /web\n  parent_id: /spire/agent/tpm2/{NODE_A}\n  selectors: [unix:uid:34]\n\
             - spiffe_id: example.org:/db\n  parent_id: /nodes/edge\n  selectors: [unix:uid:999]\n  x509_svid_ttl: 30m\n\
             - spiffe_id: spiffe://example.org/new\n  parent_id: /web\n  selectors: [unix:uid:7]\n"
        ),
    );
    let rehearsed = server.run(&format!("entry apply -f {file} --prune --dry-run"));
    assert_eq!((rehearsed.code, rehearsed.stderr.as_str()), (7, ""));
    for line in [
        "- edge  spiffe://example.org/nodes/edge  tpm2:class:simulator\n",
        "- log  spiffe://example.org/log  unix:uid:1\n",
        "~ db  spiffe://example.org/db  unix:uid:999\n    x509_svid_ttl: 0 -> 1800\n",
        "~ web  spiffe://example.org/web  unix:uid:34\n    selectors: unix:gid:33 unix:uid:33 -> unix:uid:34\n",
        "+ (new)  spiffe://example.org/new  unix:uid:7\n",
        "would be created: 1, updated: 2, deleted: 2; unchanged: 0\n",
    ] {
        assert!(rehearsed.stdout.contains(line), "{line}\n{}", rehearsed.stdout);
    }
    assert_eq!(server.fake().state().registry.len(), 4, "nothing was changed yet");
    // Without a yes nothing is deleted, and nothing else is done either.
    let unsure = server.run(&format!("entry apply -f {file} --prune"));
    assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""), "{}", unsure.stderr);
    assert!(unsure.stderr.contains("- log  "), "the difference is shown first");
    assert!(
        unsure
            .stderr
            .contains("would be created: 1, updated: 2, deleted: 2; unchanged: 0\n"),
        "what was not done is not told as done: {}",
        unsure.stderr
    );
    assert_eq!(server.json("entry show db")["x509_svid_ttl"], 0);
    // Without prune the rest stays.
    let applied = server.json(&format!("entry apply -f {file} --reason change-4711"));
    assert_eq!(applied["changes"].as_array().unwrap().len(), 3);
    assert_eq!(server.fake().state().registry.len(), 5);
    assert_eq!(server.json("entry show db")["x509_svid_ttl"], 1800);
    assert_eq!(server.json("entry show web")["selectors"], json!(["unix:uid:34"]));
    assert_eq!(server.fake().state().reasons, ["change-4711", "change-4711"]);
    let pruned = server.run(&format!("entry apply -f {file} --prune --yes"));
    assert_eq!(pruned.code, 0, "{}", pruned.stderr);
    assert_eq!(server.fake().state().registry.len(), 3);
    let again = server.run(&format!("entry apply -f {file} --prune --dry-run"));
    assert_eq!(again.code, 0, "{}", again.stdout);
}

#[test]
fn what_is_listed_can_be_applied_too() {
    let server = filled();
    let folder = tempfile::tempdir().unwrap();
    for (form, above) in [("json", ""), ("yaml", ""), ("yaml", "# entries\n---\n")] {
        let list = server.run(&format!("entry list -o {form}")).stdout;
        let file = written(folder.path(), &format!("{above}{list}"));
        let applied = server.run(&format!("entry apply -f {file} --prune --dry-run"));
        assert_eq!((applied.code, applied.stderr.as_str()), (0, ""), "{form}");
        assert_eq!(
            applied.stdout,
            "would be created: 0, updated: 0, deleted: 0; unchanged: 4\n"
        );
        // What differs is found in this form too.
        let changed = written(folder.path(), &list.replace("unix:uid:999", "unix:uid:998"));
        assert_eq!(
            server.run(&format!("entry apply -f {changed} --dry-run")).code,
            7,
            "{form}"
        );
    }
    for text in ["", "entry: 5", "[5]", "- 5", "42"] {
        let file = written(folder.path(), text);
        let refused = server.run(&format!("entry apply -f {file} --prune --yes"));
        assert_eq!(refused.code, 2, "{text}");
        assert!(
            refused.stderr.starts_with("HM-CLI-0102: "),
            "{text}: {}",
            refused.stderr
        );
        let next = "next: hallmark entry export shows the form";
        assert!(refused.stderr.contains(next), "{text}: {}", refused.stderr);
        assert_eq!(server.fake().state().registry.len(), 4);
    }
}

/// What only the server knows is asked of it before anything is changed, by a dry run and by the change itself.
#[test]
fn what_the_server_refuses_of_a_file_keeps_all_of_it_back() {
    let server = filled();
    let folder = tempfile::tempdir().unwrap();
    let (good, foreign) = (
        "selectors: [unix:uid:7]",
        "selectors: [unix:uid:8]\n  federates_with: [friend.org]",
    );
    let entry = |name: &str, rest: &str| format!("- spiffe_id: /{name}\n  parent_id: /web\n  {rest}\n");
    let file = written(
        folder.path(),
        &format!("entries:\n{}{}", entry("new", good), entry("bad", foreign)),
    );
    for how in ["--dry-run", "", "--prune --dry-run", "--prune --yes"] {
        let refused = server.run(&format!("entry apply -f {file} {how}"));
        assert_eq!(refused.code, 2, "{how}: {}", refused.stderr);
        let would = if how.contains("dry") { "would be " } else { "" };
        assert_eq!(
            refused.stdout,
            format!("{would}created: 0, updated: 0, deleted: 0; unchanged: 0\n"),
            "{how}"
        );
        let told = "create spiffe://example.org/bad unix:uid:8: HM-REG-0016: ";
        assert!(refused.stderr.starts_with(told), "{how}: {}", refused.stderr);
        assert_eq!(server.fake().state().registry.len(), 4, "{how}");
    }
    // The positive control: the same file without what is refused.
    let file = written(folder.path(), &format!("entries:\n{}", entry("new", good)));
    assert_eq!(server.run(&format!("entry apply -f {file} --dry-run")).code, 7);
    assert_eq!(server.run(&format!("entry apply -f {file}")).code, 0);
    assert_eq!(server.fake().state().registry.len(), 5);
    let update = "entry update web --federates-with friend.org";
    for line in [update.to_owned(), format!("{update} --dry-run")] {
        let refused = server.run(&line);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{line}");
        assert!(
            refused.stderr.starts_with("HM-REG-0016: "),
            "{line}: {}",
            refused.stderr
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let server = filled();
    let folder = tempfile::tempdir().unwrap();
    let good = "{spiffe_id: /x, parent_id: /web, selectors: [unix:uid:7]}";
    for (text, told) in [
        ("entries: [{spiffe_id: /x}]", "missing field"),
        (
            "entries: [{spiffe_id: /x, parent_id: /web, selectors: [unix:uid:7], ttl: 5}]",
            "unknown field",
        ),
        ("{\"entries\": [}", "line 1 column 14"),
        (
            &format!("entries: [{good}, {good}]"),
            "entry 2, for spiffe://example.org/x, stands twice",
        ),
        ("entries: [{spiffe_id: /x, parent_id: /web, selectors: []}]", "HM-REG-"),
        (
            "entries: [{spiffe_id: /x, parent_id: /web, selectors: [unix:uid:7], expires_at: soon}]",
            "entry 1: ",
        ),
    ] {
        let file = written(folder.path(), text);
        let refused = server.run(&format!("entry apply -f {file} --prune --yes"));
        assert_eq!(refused.code, 2, "{text}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{text}: {}", refused.stderr);
        assert_eq!(server.fake().state().registry.len(), 4);
    }
    // The positive control of the same form.
    let file = written(folder.path(), &format!("entries: [{good}]"));
    assert_eq!(server.run(&format!("entry apply -f {file}")).code, 0);
}

#[test]
fn an_update_changes_what_is_given_and_nothing_else() {
    let server = filled();
    let rehearsed = server.json_of("entry update we --ttl 30m --admin true --dry-run", 7);
    assert_eq!(
        (
            &rehearsed["action"],
            &rehearsed["entry"]["admin"],
            &rehearsed["entry"]["revision"]
        ),
        (&json!("update"), &json!(true), &json!(1))
    );
    assert_eq!(server.json("entry show web")["admin"], false);
    let done = server.json("entry update we --ttl 30m --admin true --reason agreed");
    assert_eq!(done["entry"]["selectors"], json!(["unix:gid:33", "unix:uid:33"]));
    let after = server.json("entry show web");
    assert_eq!(
        (&after["x509_svid_ttl"], &after["admin"], &after["revision"]),
        (&json!(1800), &json!(true), &json!(1))
    );
    assert_eq!(server.fake().state().reasons, ["agreed"]);
    let idle = server.run("entry update web");
    assert_eq!(idle.code, 2);
    assert!(idle.stderr.starts_with("HM-CLI-0020: "), "{}", idle.stderr);
    // To take an entry over is a change: it is written whole.
    let confirmed = server.json("entry update web --confirm");
    assert_eq!(
        (&confirmed["entry"]["revision"], &confirmed["entry"]["x509_svid_ttl"]),
        (&json!(2), &json!(1800))
    );
    assert_eq!(server.run("entry update nothing --ttl 5m").code, 6);
}

#[test]
fn an_entry_that_matches_nothing_is_told() {
    let server = filled();
    for (line, warning) in [
        (
            "--spiffe-id /a --parent-id /web --selector uid:0",
            "did you mean unix:uid:0?",
        ),
        (
            "--spiffe-id /b --parent-id /web --selector unix:usr:x",
            "unix:usr:x never matches: unix selectors are about uid",
        ),
        (
            "--spiffe-id /c --parent-id /web --selector unix:uid:root",
            "its value is a number, such as 1000",
        ),
        (
            "--spiffe-id /d --parent-id /web --selector unix:path:bin/x",
            "its value is an absolute path",
        ),
        (
            "--spiffe-id /e --parent-id /web --selector unix:uid:1 --selector unix:uid:2",
            "no process has both",
        ),
        (
            "--spiffe-id /f --parent-id /web --selector tpm2:class:simulator",
            "is about a machine",
        ),
        (
            "--spiffe-id /g --parent-id /spire/server --selector unix:uid:1",
            "is about a process",
        ),
        (
            "--spiffe-id /h --parent-id /nobody --selector unix:uid:1",
            "the parent spiffe://example.org/nobody is neither a node",
        ),
        (
            "--spiffe-id /i --parent-id /spire/agent/tpm2/00 --selector unix:uid:1",
            "is neither a node nor an entry's SPIFFE ID",
        ),
    ] {
        let done = server.run(&format!("entry create {line} --dry-run"));
        assert_eq!(done.code, 7, "{line}: {}", done.stderr);
        assert!(
            done.stderr.starts_with("warning: ") && done.stderr.contains(warning),
            "{line}: {}",
            done.stderr
        );
        let json = server.run(&format!("entry create {line} --dry-run -o json"));
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert!(json["warnings"][0].as_str().unwrap().contains(warning), "{json}");
    }
    let fine = server
        .run("entry create --spiffe-id /z --node 3f9a --selector unix:user:web --selector unix:path:/usr/bin/web");
    assert_eq!((fine.code, fine.stderr.as_str()), (0, ""));
}

#[test]
fn an_empty_list_has_its_headings() {
    let server = Server::start();
    for (line, head) in [("entry list", "ENTRY  SPIFFE ID"), ("inventory list", "EK  STATE")] {
        let done = server.run(line);
        assert!(done.stdout.starts_with(head), "{line}: {}", done.stdout);
    }
}

/// Of changes that are cut off it is told which were answered, of which nobody knows, and how to go on.
#[test]
fn changes_that_are_cut_off_tell_how_far_they_came() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..1200)
        .map(|n| {
            json!({
                "id": format!("e-{n:04}"), "spiffe_id": format!("/w/{n}"), "parent_id": format!("/spire/agent/tpm2/{NODE_A}"),
                "selectors": [format!("unix:uid:{n}")],
            })
        })
        .collect();
    let file = written(folder.path(), &json!({ "entries": entries }).to_string());
    server.fake().state().batches = 1;
    let cut = server.run(&format!("entry apply -f {file}"));
    let words = "HM-CLI-0030: the changes were cut off: 500 of 1200 were answered\n  compared: not known whether they were made: \
                 create e-0500 to create e-0999 (500 changes); HM-CLI-0024: ";
    assert!(
        cut.code == 1 && cut.stderr.contains(words),
        "{} {}",
        cut.code,
        cut.stderr
    );
    assert!(
        cut.stderr.contains(&format!(
            "next: hallmark entry apply -f {file} --dry-run shows what is left"
        )),
        "{}",
        cut.stderr
    );
    assert!(
        cut.stdout
            .ends_with("created: 500, updated: 0, deleted: 0; unchanged: 0\n"),
        "{}",
        cut.stdout
    );
    server.fake().state().batches = usize::MAX;
    let rest = server.run(&format!("entry apply -f {file}"));
    assert!(
        rest.code == 0
            && rest
                .stdout
                .ends_with("created: 700, updated: 0, deleted: 0; unchanged: 500\n"),
        "{}",
        rest.stderr
    );
    // Likewise where entries are deleted by their ids.
    server.fake().state().batches = 0;
    let cut = server.run("entry delete e-0000 --yes");
    assert!(
        cut.stderr.contains("0 of 1 were answered") && cut.stderr.contains("delete e-0000; HM-CLI-0024"),
        "{}",
        cut.stderr
    );
    assert_eq!(server.fake().state().registry.len(), 1200);
}
