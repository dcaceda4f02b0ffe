//! Nodes.

use crate::{
    fake::{NODE_A, NODE_B, NODE_C},
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
    assert_eq!(ids, [id(NODE_A), id(NODE_B), id(NODE_C)]);
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
        table.contains("3f9a00000000  active  tpm2  2100-01-01T00:00:00Z (in "),
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
fn bans_and_evictions_need_a_yes_and_can_be_rehearsed() {
    let server = Server::start();
    for action in ["ban", "evict"] {
        let unsure = server.run(&format!("node {action} 3f9a"));
        assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""));
        let rehearsed = server.run(&format!("node {action} 3f9a --dry-run"));
        assert_eq!(
            (rehearsed.code, rehearsed.stdout),
            (7, format!("would {action} {}\n", id(NODE_A)))
        );
    }
    assert!(!server.fake().state().agents[0].banned);
    let banned = server.run("node ban 3f9a --yes");
    assert_eq!((banned.code, banned.stdout), (0, format!("ban {}\n", id(NODE_A))));
    assert!(server.fake().state().agents[0].banned);
    assert_eq!(server.run(&format!("node evict {} --yes", id(NODE_A))).code, 0);
    assert_eq!(server.fake().state().agents.len(), 2);
    let gone = server.run(&format!("node evict {} --yes", id(NODE_A)));
    assert_eq!(gone.code, 6);
    assert!(
        gone.stderr.starts_with("HM-CLI-0006: the server does not find it"),
        "{}",
        gone.stderr
    );
}
