//! Machines that were away while authorities changed: they come back by themselves where they may, and else as the documentation says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_spiffe::{TrustDomain, x509::verify_chain};
use std::process::Command;
use std::time::SystemTime;
use trial::{DOMAIN, Trial, bundle, entry, register, svids, wait_for};

/// A server, and a machine whose agent and workload have SVIDs; and the one certificate of the bundle.
fn served() -> (Trial, Vec<u8>) {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let admin = trial.lab.server().admin_socket();
    register(&admin, entry(&trial.node().agent_id().unwrap(), "/workload")).unwrap();
    trial.node().start().unwrap();
    let socket = trial.node().workload_api();
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    let first = bundle(&admin).remove(0);
    (trial, first)
}

fn operator(trial: &mut Trial, words: &[&str]) -> String {
    let out = hallmark_kit::hallmark(&trial.lab.server().admin_socket(), words).unwrap();
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert!(out.status.success(), "{words:?}: {said}");
    said
}

/// Another authority signs from now on, and the server shows an SVID of it; gives its certificate.
fn rotate(trial: &mut Trial, first: &[u8]) -> Vec<u8> {
    let shown = |trial: &mut Trial| trial.lab.server().log().matches("server identity issued").count();
    let before = shown(trial);
    for step in ["prepare", "activate"] {
        operator(trial, &["authority", "x509", step, "--reason", "drill"]);
    }
    wait_for("the server shows another SVID", || shown(trial) > before);
    let all = bundle(&trial.lab.server().admin_socket());
    all.into_iter().find(|it| it != first).unwrap()
}

/// Whether what the workload is served leads to this one certificate.
fn is_served_by(trial: &mut Trial, root: &[u8]) -> bool {
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let served = svids(&trial.node().workload_api());
    served
        .first()
        .is_some_and(|svid| verify_chain(&[&svid.1], &[root], &domain, SystemTime::now()).is_ok())
}

#[test]
fn a_machine_that_missed_a_rotation_comes_back_with_a_new_bundle_file() {
    let (mut trial, first) = served();
    trial.node().stop();
    let second = rotate(&mut trial, &first);
    // The control: without the file it knows nobody at this address.
    trial.node().launch().unwrap();
    wait_for("the agent says whom it does not know", || {
        trial.node().log().contains("HM-AGENT-0002")
    });
    // The file is read again without a restart.
    let pem = operator(&mut trial, &["bundle", "show", "--format", "pem"]);
    std::fs::write(trial.lab.bundle_file(), pem).unwrap();
    let pid = trial.node().pid().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    wait_for("its workload's SVID is by the new authority", || {
        is_served_by(&mut trial, &second)
    });
}

#[test]
fn a_machine_that_was_away_when_its_authority_was_revoked_attests_again() {
    let (mut trial, first) = served();
    let second = rotate(&mut trial, &first);
    wait_for("the agent knows both", || {
        trial.node().log().contains("the trust bundle has changed")
    });
    trial.node().stop();
    let shown = operator(&mut trial, &["authority", "x509", "show"]);
    let old = shown.lines().find(|line| line.contains(" old ")).unwrap();
    let old = old.split(' ').next().unwrap().to_owned();
    operator(
        &mut trial,
        &["authority", "x509", "revoke", &old, "--reason", "drill", "--yes"],
    );
    trial.node().start().unwrap();
    wait_for("its workload's SVID is by the other authority", || {
        is_served_by(&mut trial, &second)
    });
    // The control: it came with the SVID that is believed no more, and heard so.
    let log = trial.node().log();
    assert!(
        log.contains("identity of the last run taken up") && log.contains("HM-AGENT-0057"),
        "{log}"
    );
}
