//! A key that is destroyed under a running server.

use crate::kept::{Kept, UNEXPECTED, UNREACHABLE};
use crate::trial::{DOMAIN, destroy_key, wait_for};
use std::path::Path;

/// How an operator's command ends, and what it says.
fn operator(socket: &Path, command: &[&str]) -> (Option<i32>, String) {
    let out = hallmark_kit::hallmark(socket, command).unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_key_that_is_destroyed_under_a_running_server_is_told_by_all_who_look() {
    let mut kept = Kept::new();
    kept.trial.lab.server().set("hsm", "probe_interval", "1s".into());
    kept.fill();
    kept.trial.lab.start_server().unwrap();
    let socket = kept.trial.lab.server().admin_socket();
    let key = format!("hallmark-x509-{DOMAIN}-1");
    // The control: with its key all is well.
    assert_eq!(kept.health().0, Some(0));
    for command in [["status"].as_slice(), &["doctor"], &["hsm", "status"]] {
        let (exit, said) = operator(&socket, command);
        assert_eq!(exit, Some(0), "{said}");
        assert!(!said.contains("HM-SRV-0010") && !said.contains("FAILED"), "{said}");
    }
    assert!(!kept.trial.lab.server().log().contains("HM-SRV-0010"));

    destroy_key(kept.trial.lab.server().token(), &key);
    let gone = format!("HM-SRV-0010: the token has no key \"{key}\", which signs for the authority");
    // The schedule finds it although nobody asks.
    wait_for("the schedule tells it", || {
        kept.trial.lab.server().log().contains(&gone)
    });
    let said = kept.must_become(UNEXPECTED);
    assert!(
        said.contains("hsm HM-SRV-0010") && said.contains("HM-SRV-0009"),
        "{said}"
    );
    for (command, code) in [
        (["status"].as_slice(), UNEXPECTED),
        (&["doctor"], UNEXPECTED),
        (&["hsm", "status"], UNREACHABLE),
    ] {
        let (exit, said) = operator(&socket, command);
        assert_eq!(exit, Some(code), "{command:?}: {said}");
        assert!(said.contains("HM-SRV-0010"), "{command:?}: {said}");
    }
    kept.trial.lab.server().stop();
    // Nor is all well where no server runs.
    let (_, said) = kept.program(&["doctor"]);
    assert!(said.contains("FAIL  token: HM-SRV-0010"), "{said}");
}
