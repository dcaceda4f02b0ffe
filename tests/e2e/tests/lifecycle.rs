//! The life of one machine, as its operators lead it with their own program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod trial;

use hallmark_kit::binary;
use serde_json::Value;
use std::fs;
use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
use std::path::PathBuf;
use std::process::Command;
use trial::{PATIENCE, Trial, entry, must_report, register, svids, wait_for};

/// An operator with their own account on the server's machine.
struct Operator {
    program: PathBuf,
    socket: PathBuf,
    uid: Option<u32>,
}

impl Operator {
    fn does(&self, code: i32, words: &[&str]) -> (String, String) {
        let mut command = Command::new(&self.program);
        command.arg("--socket").arg(&self.socket).args(words);
        if let Some(uid) = self.uid {
            command.uid(uid);
        }
        let out = command.output().unwrap();
        let [said, told] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(out.status.code(), Some(code), "{words:?}: {said}{told}");
        (said, told)
    }

    fn json(&self, words: &[&str]) -> Value {
        let (said, _) = self.does(0, &[words, &["-o", "json"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    fn state(&self, node: &str) -> String {
        self.json(&["node", "show", node])["state"].as_str().unwrap().to_owned()
    }
}

#[test]
fn from_the_first_sight_to_the_scrap_heap() {
    let mut trial = Trial::laid_out(1);
    // Another operator needs another user, whom only root can be.
    let two = rustix::process::geteuid().is_root();
    let approval = if two { "two" } else { "one" };
    trial.lab.server().set("attestation.tpm2", "approval", approval.into());
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    let program = trial.folder.path().join("hallmark");
    fs::copy(binary("hallmark").unwrap(), &program).unwrap();
    fs::set_permissions(trial.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let alice = Operator {
        program,
        socket,
        uid: None,
    };

    // It proves itself, and waits.
    trial.node().launch().unwrap();
    let pending = || alice.json(&["node", "list", "--state", "pending"]);
    wait_for("it is seen", || pending()[0]["id"].is_string());
    let id = pending()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(pending()[0]["approvals_needed"], if two { 2 } else { 1 });
    let node = id.rsplit('/').next().unwrap()[..12].to_owned();
    let (shown, _) = alice.does(0, &["node", "show", &node]);
    assert!(
        shown.contains("state      pending") && shown.contains("class     simulator"),
        "{shown}"
    );
    alice.does(6, &["node", "suspend", &node, "--yes"]);
    alice.does(7, &["node", "approve", &node, "--dry-run"]);
    alice.does(0, &["node", "approve", &node, "--reason", "rack 7, seen by alice"]);
    if two {
        let (_, told) = alice.does(6, &["node", "approve", &node]);
        assert!(told.starts_with("HM-REG-0062"), "{told}");
        let other = |uid| Operator {
            program: alice.program.clone(),
            socket: alice.socket.clone(),
            uid: Some(uid),
        };
        // A user id without an account is no person, nor is the one that stands for everybody without any.
        for uid in [3_999_999_999, 65_534] {
            let (_, told) = other(uid).does(3, &["node", "approve", &node]);
            assert!(told.starts_with("HM-REG-0065"), "{told}");
        }
        let bob = other(1);
        let (said, _) = bob.does(0, &["node", "approve", &node]);
        assert!(said.contains("2 of 2"), "{said}");
    } else {
        eprintln!("skipped: the second operator (needs root)");
    }
    trial.node().wait_ready(PATIENCE).unwrap();
    assert_eq!(alice.state(&node), "active");

    // It works.
    let place = trial.node().workload_api();
    register(&alice.socket, entry(&id, "/web")).unwrap();
    wait_for("its workloads are served", || !svids(&place).is_empty());

    // It is cut, its workloads lose what they hold, and it comes back by itself.
    alice.does(2, &["node", "suspend", &node]);
    alice.does(0, &["node", "suspend", &node, "--yes"]);
    assert_eq!(alice.state(&node), "suspended");
    wait_for("its workloads are cut", || svids(&place).is_empty());
    must_report(&trial.node().log(), "HM-AGENT-0019", &["HM-SRV-0302"]);
    alice.does(0, &["node", "resume", &node]);
    wait_for("its workloads are served again", || !svids(&place).is_empty());
    assert_eq!(alice.state(&node), "active");

    // It goes for good, and comes back only as somebody's decision.
    alice.does(0, &["node", "retire", &node, "--yes"]);
    let status = trial.node().process().unwrap().wait_exit(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(5), "verified and refused");
    alice.does(6, &["node", "evict", &node, "--yes"]);
    trial.node().launch().unwrap();
    let status = trial.node().process().unwrap().wait_exit(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(5), "still retired");
    let file = trial.folder.path().join("machines.csv");
    fs::write(
        &file,
        format!("ek_sha256,owner\n{},ops\n", id.rsplit('/').next().unwrap()),
    )
    .unwrap();
    let file = file.display().to_string();
    let report = alice.json(&["inventory", "import", &file]);
    assert_eq!(report["retired"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(alice.state(&node), "retired");
    alice.json(&["inventory", "import", &file, "--readmit"]);
    assert_eq!(alice.state(&node), "pre-registered");
    trial.node().launch().unwrap();
    wait_for("it is seen again", || pending()[0]["id"] == id.as_str());
}
