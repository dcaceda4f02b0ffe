//! The JSON form is a contract: it is compared with files, byte by byte. `HALLMARK_BLESS=1 cargo test -p hallmark`
//! writes the files anew; whoever does that reads the difference.

use std::{fs, path::PathBuf};

use crate::{fake::NODE_A, run::Server};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli/golden")
        .join(name)
}

fn compare(name: &str, found: &str) {
    if std::env::var_os("HALLMARK_BLESS").is_some() {
        fs::write(golden(name), found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(golden(name)).unwrap(), "{name}");
}

fn with_entries() -> Server {
    let server = Server::start();
    for line in [
        "entry create --id web --spiffe-id /web --node 3f9a --selector unix:uid:33 --selector unix:gid:33 --ttl 30m --dns web.internal --hint outside",
        "entry create --id db --spiffe-id /db --parent-id /nodes/edge --selector unix:uid:999 --expires-at 2099-01-01T00:00:00Z",
        "entry create --id edge --spiffe-id /nodes/edge --parent-id /spire/server --selector tpm2:class:simulator",
    ] {
        assert_eq!(server.run(line).code, 0, "{line}");
    }
    server.installs();
    server
}

#[test]
fn every_json_form() {
    let server = with_entries();
    for (name, line) in [
        ("status.json", "status".to_owned()),
        ("node-list.json", "node list".to_owned()),
        ("node-show.json", format!("node show {NODE_A}")),
        ("node-list-pending.json", "node list --state pending".to_owned()),
        ("entry-list.json", "entry list".to_owned()),
        ("entry-show.json", "entry show web".to_owned()),
        ("entry-match.json", "entry match --selector unix:uid:999".to_owned()),
        ("bundle-show.json", "bundle show".to_owned()),
        ("authority-jwt-show.json", "authority jwt show".to_owned()),
        ("authority-x509-show.json", "authority x509 show".to_owned()),
        ("hsm-status.json", "hsm status".to_owned()),
        ("hsm-keys.json", "hsm keys".to_owned()),
        ("record-list.json", "record list".to_owned()),
        ("provision-list.json", "provision list".to_owned()),
        ("provision-show.json", format!("provision show {NODE_A}")),
        ("version.json", "version".to_owned()),
    ] {
        let done = server.run(&format!("{line} -o json"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{line}");
        compare(name, &done.stdout);
    }
}

#[test]
fn the_json_of_changes() {
    let server = with_entries();
    let rehearsed = server.run("entry delete web db --dry-run -o json");
    compare("entry-delete-dry-run.json", &rehearsed.stdout);
    let rehearsed = server.run("node approve 88d --dry-run -o json");
    compare("node-approve-dry-run.json", &rehearsed.stdout);
    let rehearsed = server.run("node ban 3f9a --dry-run -o json");
    compare("node-ban-dry-run.json", &rehearsed.stdout);
    let rehearsed = server.run("provision retry 3f9b --dry-run -o json");
    compare("provision-retry-dry-run.json", &rehearsed.stdout);
    let rehearsed =
        server.run("entry create --spiffe-id /new --parent-id /nodes/edge --selector unix:uid:1 --dry-run -o json");
    compare("entry-create-dry-run.json", &rehearsed.stdout);
}

#[test]
fn yaml_says_the_same_as_json() {
    let server = with_entries();
    let yaml = server.run("entry list -o yaml").stdout;
    compare("entry-list.yaml", &yaml);
    compare("hsm-keys.yaml", &server.run("hsm keys -o yaml").stdout);
    assert!(yaml.contains("spiffe_id: "));
}
