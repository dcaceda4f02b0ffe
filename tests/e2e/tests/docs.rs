//! The commands that the docs show, run as a reader would run them: every block marked `sh`, in order, in one shell.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_kit::binary;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

/// The `sh` blocks of a page; blocks marked otherwise are for reading.
fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh" {
            blocks.push(
                lines
                    .by_ref()
                    .take_while(|line| line.trim() != "```")
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        }
    }
    blocks
}

fn run(page: &str) -> String {
    let bin = binary("hallmark-lab").unwrap().parent().unwrap().display().to_string();
    let python = std::env::var("HALLMARK_PYTHON").unwrap_or_else(|_| "target/venv/bin/python".into());
    let script = blocks(page)
        .join("\n")
        .replace("$PWD/target/debug", &bin)
        .replace("target/venv/bin/python", &python);
    assert!(script.contains("hallmark"), "{page} has commands");
    // A block that fails leaves nothing running, nor anybody who holds the pipe open.
    let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n{script}");
    let out = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(root())
        .output()
        .unwrap();
    let (said, told) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{page}: {}\n{said}\n{told}", out.status);
    said
}

#[test]
fn the_tutorial_leads_to_a_first_identity() {
    let said = run("docs/tutorial/first-identity.md");
    assert!(said.contains("spiffe://example.org/hello"), "{said}");
    assert!(said.contains("banned"), "{said}");
}

#[test]
fn a_machine_is_led_from_delivery_to_scrap() {
    let said = run("docs/how-to/manage-node-life-cycle.md");
    for word in [
        "pending (0 of 1 approvals)",
        "suspended",
        "unchanged  1",
        "retired",
        "readmitted  1",
        "pre-registered",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn entries_are_managed() {
    let said = run("docs/how-to/manage-entries.md");
    for word in [
        "would create",
        "+ (new)  spiffe://example.org/log  unix:user:syslog",
        "would be created: 1, updated: 0, deleted: 0; unchanged: 1",
        "would be created: 0, updated: 0, deleted: 0; unchanged: 2",
        "reason: shorter, as agreed",
        "for unix:uid:33, by uid:",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_server_that_is_no_workload_has_a_certificate() {
    let said = run("docs/how-to/certificate-for-a-server.md");
    for word in [
        "tls/svid.pem: OK",
        "Verify return code: 0 (ok)",
        "switch.pem: OK",
        "HM-CLI-0032",
        "spiffe://example.org/switch/7",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_update_is_rolled_out() {
    let said = run("docs/how-to/roll-out-an-update.md");
    for word in [
        "loses trust",
        "HM-POLICY-0126",
        ".cmdline",
        "the boots part at",
        "is trusted again",
        "in force",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_database_has_no_passwords() {
    // PostgreSQL does not run as root, and only root can be two users.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let said = run("docs/how-to/database-without-passwords.md");
    for word in [
        "payments|/O=Hallmark/CN=payments.apps.example.org",
        "certificate authentication failed for user \"postgres\"",
        "connection requires a valid client certificate",
        "still payments",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_authority_is_renewed_in_time_and_after_its_end() {
    let said = run("docs/how-to/renew-the-authority.md");
    for word in [
        "would renew the authority's certificate",
        "start the server",
        "x509-authority-renew",
        "reason: change 4713",
        "HM-SRV-0013",
        "hallmark-server authority renew",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn authorities_are_rotated_tainted_and_revoked() {
    let said = run("docs/how-to/rotate-authorities.md");
    for expected in [
        "prepared",
        "active",
        "old",
        "tainted",
        "jwt-authority, active",
        "x509-authority, active",
        "revoke ",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_verifier_that_knows_openid_connect_alone_takes_a_token() {
    let said = run("docs/how-to/let-a-cloud-accept-our-tokens.md");
    for word in [
        "\"jwks_uri\":\"https://localhost:18443/keys\"",
        "\"alg\":\"ES256\"",
        "verified: spiffe://example.org/payments",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
