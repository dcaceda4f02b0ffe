//! Attack 53: ways back in for a machine that operators have not let in, or have put out. That one operator is not two
//! is tried where there are two: in the server's own tests, and end to end. Attack 70: one operator who is many users.

use crate::scene::{Site, ek, lay_out, run, site_with};
use hallmark_api::admin::{ChangeNodeRequest, ImportInventoryRequest};
use hallmark_attacks::{attest, open, proof_message};
use hallmark_kit::{Lab, binary};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use std::fs;
use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
use std::path::Path;
use std::process::Command;
use tonic::{Code, Status};

async fn operator(site: &mut Site, action: &str, machine: &SoftwareMachine) -> Result<(), Status> {
    let request = ChangeNodeRequest {
        id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine)),
        action: action.into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(request).await.map(drop)
}

/// It is refused with this code alone, on record and on the wire.
async fn out(site: &mut Site, what: &str, machine: &SoftwareMachine, code: &str) {
    let told = attest(&site.wire().await, machine).await.unwrap_err();
    is_out(site, what, &told, code).await;
}

async fn is_out(site: &mut Site, what: &str, told: &Status, code: &str) {
    let verdicts = site.verdicts().await;
    let seen: Vec<_> = verdicts.iter().map(|v| (v.outcome.as_str(), v.code.as_str())).collect();
    assert_eq!(seen, [("refused", code)], "{what}: {told}");
    assert_eq!(told.code(), Code::PermissionDenied, "{what}: {told}");
    assert!(told.message().ends_with(&format!("({code})")), "{what}: {told}");
}

async fn is_in(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

fn with_approval(approval: &str, body: impl AsyncFnOnce(&mut Site)) {
    let configure = |lab: &mut Lab, _: &VendorCa, _: &Path| {
        lab.server().set("attestation.tpm2", "approval", approval.into());
    };
    site_with(VendorCa::new(), configure, body);
}

#[test]
fn attack_53_no_identity_before_the_approval() {
    with_approval("one", async |site| {
        let (machine, other) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        out(site, "not approved", &machine, "HM-SRV-0301").await;
        out(site, "not approved", &other, "HM-SRV-0301").await;
        operator(site, "approve", &other).await.unwrap();
        out(site, "another one is approved", &machine, "HM-SRV-0301").await;
        // Whoever deletes it, or bans it and thinks better of it, has not approved it.
        operator(site, "approve", &machine).await.unwrap();
        operator(site, "evict", &machine).await.unwrap();
        out(site, "deleted and back", &machine, "HM-SRV-0301").await;
        operator(site, "approve", &machine).await.unwrap();
        operator(site, "ban", &machine).await.unwrap();
        out(site, "approved and banned", &machine, "HM-SRV-0109").await;
        operator(site, "unban", &machine).await.unwrap();
        out(site, "unbanned", &machine, "HM-SRV-0301").await;
        // The controls.
        is_in(site, "the other one", &other).await;
        operator(site, "approve", &machine).await.unwrap();
        is_in(site, "approved", &machine).await;
        is_in(site, "renewed", &machine).await;
    });
}

/// Its history begins anew by an operator's word, also where that is an eviction and an approval.
#[test]
fn a_cleared_tpm_is_evicted_approved_and_in() {
    with_approval("one", async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        out(site, "not approved", &machine, "HM-SRV-0301").await;
        operator(site, "approve", &machine).await.unwrap();
        is_in(site, "approved", &machine).await;
        (machine.reset_count, machine.restart_count, machine.clock) = (0, 0, 5000);
        for _ in 0..2 {
            attest(&site.wire().await, &machine).await.unwrap_err();
            assert_eq!(site.verdicts().await[0].code, "HM-VERIFY-0801");
        }
        // Real time: the times of a node's row have seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        operator(site, "evict", &machine).await.unwrap();
        out(site, "evicted", &machine, "HM-SRV-0301").await;
        operator(site, "approve", &machine).await.unwrap();
        is_in(site, "approved again", &machine).await;
        machine.clock += 1000;
        is_in(site, "its history goes on from there", &machine).await;
        machine.clock = 2000;
        attest(&site.wire().await, &machine).await.unwrap_err();
        assert_eq!(
            site.verdicts().await[0].code,
            "HM-VERIFY-0803",
            "the control: back behind it"
        );
    });
}

#[test]
fn attack_53_put_out_while_attesting_and_after() {
    with_approval("none", async |site| {
        for (action, code) in [
            ("suspend", "HM-SRV-0302"),
            ("ban", "HM-SRV-0109"),
            ("retire", "HM-SRV-0303"),
        ] {
            let machine = SoftwareMachine::new(&site.vendor);
            is_in(site, action, &machine).await;
            let wire = site.wire().await;
            let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
            let proof = proof_message(&machine.prove(&challenge, wire.exporter()));
            operator(site, action, &machine).await.unwrap();
            let told = attempt.prove(&proof).await.unwrap_err();
            is_out(site, "under way", &told, code).await;
            out(site, "again", &machine, code).await;
            site.control(&wire, action).await;
        }
    });
}

#[test]
fn attack_53_a_retired_machine_enrols_again() {
    with_approval("none", async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        is_in(site, "at first", &machine).await;
        operator(site, "retire", &machine).await.unwrap();
        for action in ["evict", "unban", "resume", "approve"] {
            let told = operator(site, action, &machine).await.unwrap_err();
            assert!(told.message().starts_with("HM-REG-0060"), "{action}: {told}");
            out(site, action, &machine, "HM-SRV-0303").await;
        }
        let message = |readmit: bool| ImportInventoryRequest {
            format: "csv".into(),
            readmit,
            data: format!("ek_sha256\n{}\n", ek(&machine)).into_bytes().into(),
            ..Default::default()
        };
        let stream = tokio_stream::iter([message(false)]);
        site.admin.lifecycle.import_inventory(stream).await.unwrap();
        out(site, "listed", &machine, "HM-SRV-0303").await;
        let stream = tokio_stream::iter([message(true)]);
        site.admin.lifecycle.import_inventory(stream).await.unwrap();
        is_in(site, "named anew", &machine).await;
    });
}

/// A server whose machine has these subordinate user ids, and an account among them.
fn on_a_machine_with(lab: &mut Lab, folder: &Path, subuid: &str) {
    let (subuids, accounts) = (folder.join("subuid"), folder.join("passwd"));
    fs::write(&subuids, subuid).unwrap();
    let account = format!("carol:x:{CAROL}:0::/:/bin/sh\n");
    fs::write(&accounts, fs::read_to_string("/etc/passwd").unwrap() + &account).unwrap();
    let mounts = format!(
        "mount --bind {} /etc/subuid && mount --bind {} /etc/passwd && exec \"$@\"",
        subuids.display(),
        accounts.display()
    );
    let launcher = ["unshare", "--mount", "sh", "-c", &mounts, "sh"];
    lab.server().launch_through(launcher.map(str::to_owned).to_vec());
    fs::copy(binary("hallmark").unwrap(), folder.join("hallmark")).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

const DAEMON: u32 = 1;
const BIN: u32 = 2;
const CAROL: u32 = 700_001;

#[test]
fn attack_70_two_approvals_by_one_operator() {
    // Only root can be several users.
    if !fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t") {
        return;
    }
    let (folder, vendor) = (tempfile::tempdir().unwrap(), VendorCa::new());
    let mut lab = lay_out(folder.path(), &vendor);
    lab.server().set("attestation.tpm2", "approval", "two".into());
    on_a_machine_with(&mut lab, folder.path(), "daemon:700000:65536\n");
    lab.start_server().unwrap();
    let (socket, files) = (lab.server().admin_socket(), folder.path().to_owned());
    run(&mut lab, vendor, async |site| {
        let approve = |uid: u32, around: &[&str], machine: &SoftwareMachine| {
            let program = files.join("hallmark");
            let mut words: Vec<&str> = around.to_vec();
            words.push(program.to_str().unwrap());
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg("--socket").arg(&socket);
            let out = command
                .args(["node", "approve", &ek(machine)])
                .uid(uid)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&out.stderr).into_owned();
            (out.status.code().unwrap(), told.split(':').next().unwrap().to_owned())
        };
        let (machine, other) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        out(site, "at first", &machine, "HM-SRV-0301").await;
        out(site, "at first", &other, "HM-SRV-0301").await;
        assert_eq!(approve(DAEMON, &[], &machine).0, 0);
        assert_eq!(approve(DAEMON, &[], &other).0, 0);
        // Its subordinate users, with an account or without, and nobody.
        for uid in [700_000, CAROL, 765_535, 65_534] {
            assert_eq!(approve(uid, &[], &machine), (3, "HM-REG-0065".into()), "{uid}");
        }
        // Root of a user namespace of its own is still the same user.
        let namespace = ["unshare", "--user", "--map-root-user"];
        assert_eq!(approve(DAEMON, &namespace, &machine), (6, "HM-REG-0062".into()));
        out(site, "approved by one", &machine, "HM-SRV-0301").await;
        // The controls: another person; and the account once its user id is nobody else's.
        assert_eq!(approve(BIN, &[], &machine).0, 0);
        is_in(site, "approved by two", &machine).await;
        fs::write(files.join("subuid"), "daemon:800000:65536\n").unwrap();
        assert_eq!(approve(CAROL, &[], &other).0, 0);
        is_in(site, "approved by two", &other).await;
    });
}

#[test]
fn attack_70_only_listed_operators_approve() {
    let me = fs::read_to_string("/proc/self/status").unwrap();
    let uid = me
        .lines()
        .find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next())
        .unwrap();
    for (listed, approves) in [(vec![uid.into(), "bin".into()], true), (vec!["bin".into()], false)] {
        let configure = |lab: &mut Lab, _: &VendorCa, _: &Path| {
            lab.server().set("attestation.tpm2", "approval", "one".into());
            lab.server()
                .set("attestation.tpm2", "approvers", toml::Value::Array(listed));
        };
        site_with(VendorCa::new(), configure, async |site| {
            let machine = SoftwareMachine::new(&site.vendor);
            out(site, "at first", &machine, "HM-SRV-0301").await;
            match operator(site, "approve", &machine).await {
                Ok(()) => {
                    assert!(approves);
                    is_in(site, "approved", &machine).await;
                }
                Err(told) => {
                    assert!(!approves && told.code() == Code::PermissionDenied, "{told}");
                    assert!(told.message().starts_with("HM-REG-0065"), "{told}");
                    out(site, "not approved", &machine, "HM-SRV-0301").await;
                }
            }
        });
    }
}
