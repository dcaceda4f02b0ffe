//! Nodes.

use crate::{
    fake::{NODE_A, NODE_B, NODE_C, NODE_D},
    run::Server,
};

fn id(ek_hash: &str) -> String {
    format!("spiffe://example.org/spire/agent/tpm2/{ek_hash}")
}

#[test]
fn lists_span_pages_and_are_filtered() {
    let server = Server::start();
    let all = server.json("node list");
    let ids: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [id(NODE_A), id(NODE_B), id(NODE_C), id(NODE_D)]);
    let banned = server.json("node list --banned");
    assert_eq!(
        (banned.as_array().unwrap().len(), &banned[0]["state"]),
        (1, &"banned".into())
    );
    let one = server.json(&format!("node list --selector tpm2:ek-hash:{NODE_B}"));
    assert_eq!(one.as_array().unwrap().len(), 1);
    let table = server.run("node list").stdout;
    assert!(table.starts_with("NODE          STATE"), "{table}");
    assert!(
        table.contains("3f9a00000000  active ") && table.contains(" tpm2  2100-01-01T00:00:00Z (in "),
        "{table}"
    );
}

#[test]
fn a_node_is_named_in_every_form() {
    let server = Server::start();
    for name in [
        "3f9a",
        NODE_A,
        &id(NODE_A),
        &format!("/spire/agent/tpm2/{NODE_A}"),
        &format!("example.org:/spire/agent/tpm2/{NODE_A}"),
    ] {
        assert_eq!(server.json(&format!("node show {name}"))["id"], id(NODE_A), "{name}");
    }
    assert_eq!(server.run("node show 3f9").code, 6);
    assert_eq!(server.run("node show 4").code, 6);
    assert_eq!(server.run(&format!("node show {NODE_B}")).code, 6);
}

#[test]
fn show_tells_the_chain_of_proof() {
    let told = Server::start().run("node show 3f9a").stdout;
    let links = [
        "1 the endorsement key is a TPM's",
        "issuer    CN=swtpm-localca",
        "2 the attestation key lives in the same TPM",
        "name  000baa",
        "3 the SVID key was made in that TPM",
        "4 what the machine booted",
        "sha256:7 0303",
        "5 the verdict",
        "outcome  trusted",
        "HM-POLICY-0001 every rule is kept",
        "6 the SVID, signed in the HSM",
        "signed by  hallmark-x509-a",
    ];
    let mut rest = told.as_str();
    for link in links {
        let at = rest
            .find(link)
            .unwrap_or_else(|| panic!("{link} is not in its place:\n{told}"));
        rest = &rest[at + link.len()..];
    }
}

#[test]
fn nodes_that_wait_are_listed_with_what_they_wait_for() {
    let server = Server::start();
    let pending = server.json("node list --state pending");
    assert_eq!(pending.as_array().unwrap().len(), 1);
    assert_eq!(
        (&pending[0]["id"], &pending[0]["owner"]),
        (&id(NODE_D).into(), &"edge".into())
    );
    assert_eq!(
        (&pending[0]["approvals"][0]["uid"], &pending[0]["approvals_needed"]),
        (&1000.into(), &2.into())
    );
    let table = server.run("node list --state pending").stdout;
    assert!(table.contains("88d000000000  pending (1 of 2 approvals)"), "{table}");
    assert_eq!(server.json("node list --state retired").as_array().unwrap().len(), 0);
    // Who was never let in has no selectors to be found by.
    let found = server.json("node list --selector tpm2:class:simulator");
    assert_eq!(found.as_array().unwrap().len(), 3);
}

#[test]
fn what_takes_away_needs_a_yes_and_everything_can_be_rehearsed() {
    let server = Server::start();
    for (action, to) in [
        ("ban", "banned"),
        ("evict", "forgotten"),
        ("suspend", "suspended"),
        ("retire", "retired"),
    ] {
        let unsure = server.run(&format!("node {action} 3f9a"));
        assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""), "{}", unsure.stderr);
        let rehearsed = server.run(&format!("node {action} 3f9a --dry-run"));
        let expected = format!("would {action} {}: active -> {to}\n", id(NODE_A));
        assert_eq!((rehearsed.code, rehearsed.stdout), (7, expected));
    }
    let rehearsed = server.run("node approve 88d --dry-run");
    assert_eq!(rehearsed.code, 7, "{}", rehearsed.stderr);
    assert!(server.fake().state().asked.is_empty(), "nothing was changed yet");
    let banned = server.run("node ban 3f9a --yes --reason stolen");
    let expected = format!("ban {}: active -> banned\n", id(NODE_A));
    assert_eq!((banned.code, banned.stdout), (0, expected));
    assert!(server.fake().state().agents[0].banned);
    let approved = server.run("node approve 88d");
    let expected = format!("approve {}: pending -> pending (2 of 2 approvals)\n", id(NODE_D));
    assert_eq!((approved.code, approved.stdout), (0, expected), "{}", approved.stderr);
    let asked = server.fake().state().asked.clone();
    assert_eq!(
        asked,
        [
            ("ban".to_owned(), "stolen".to_owned()),
            ("approve".into(), String::new())
        ]
    );
    assert_eq!(server.run(&format!("node evict {} --yes", id(NODE_A))).code, 0);
    assert_eq!(server.fake().state().agents.len(), 2);
    let gone = server.run(&format!("node evict {} --yes", id(NODE_A)));
    assert_eq!(gone.code, 6);
    assert!(
        gone.stderr.starts_with("HM-REG-0061: agent not found"),
        "{}",
        gone.stderr
    );
}

#[test]
fn several_nodes_are_changed_by_one_command_or_none() {
    let server = Server::start();
    let refused = server.run("node suspend 3f9a 77c --yes");
    assert_eq!((refused.code, refused.stdout.as_str()), (6, ""), "{}", refused.stderr);
    assert!(
        server.fake().state().asked.is_empty(),
        "the first could have been suspended"
    );
    let done = server.json("node ban 3f9a 3f9b 3f9a --yes --reason stolen");
    assert_eq!(done.as_array().unwrap().len(), 2, "each once: {done}");
    assert_eq!(server.fake().state().asked.len(), 2);
    assert_eq!(server.json("node list --banned").as_array().unwrap().len(), 3);
}

#[test]
fn what_a_state_does_not_allow_is_told() {
    let server = Server::start();
    for (line, compared, next) in [
        (
            "node approve 3f9a",
            "expected pre-registered or pending, found active",
            "nothing: the node is active already".to_owned(),
        ),
        (
            "node unban 3f9a",
            "expected banned, found active",
            format!("hallmark node show {} says what happened to it", id(NODE_A)),
        ),
        (
            "node suspend 77c --yes",
            "expected active, found banned",
            format!("hallmark node unban {}, then again", id(NODE_C)),
        ),
    ] {
        let refused = server.run(line);
        assert_eq!(refused.code, 6, "{line}");
        let lines: Vec<&str> = refused.stderr.trim_end().lines().collect();
        assert!(
            lines[0].starts_with("HM-REG-0060: ") && lines.len() == 4,
            "{line}: {lines:?}"
        );
        assert_eq!(lines[1], format!("  compared: {compared}"), "{line}");
        assert_eq!(lines[3], format!("  next: {next}"), "{line}");
    }
}
