//! What heals by itself: clocks that were wrong and were put right, TPMs that were reset, machines that were booted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{Fault, MovedClock, Node, TctiProxy, TpmSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use trial::{PATIENCE, Trial, agents, entry, register, report, svids, wait_for};

const AHEAD: i64 = 2 * 3600;

/// A server and an agent with an entry for this user, both with clocks that can be set; nobody runs yet.
fn clocked() -> (Trial, MovedClock, MovedClock) {
    let trial = Trial::laid_out(1);
    let clock = |name: &str| MovedClock::new(&trial.folder.path().join(name)).unwrap();
    let clocks = (clock("server-clock"), clock("agent-clock"));
    (trial, clocks.0, clocks.1)
}

fn register_own(trial: &mut Trial) {
    let id = trial.node().agent_id().unwrap();
    register(&trial.lab.server().admin_socket(), entry(&id, "/workload")).unwrap();
}

/// What the agent said since `from`.
fn said_since(node: &Node, from: usize) -> String {
    node.log().get(from..).unwrap_or_default().to_owned()
}

#[test]
fn an_agent_whose_clock_was_ahead_serves_again_without_a_restart() {
    let (mut trial, _, clock) = clocked();
    trial.lab.start_server().unwrap();
    register_own(&mut trial);
    let node = trial.node();
    node.launch_with(&clock.env()).unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let socket = node.workload_api();
    wait_for("an SVID is served", || svids(&socket).len() == 1);

    let before = node.log().len();
    clock.set(AHEAD).unwrap();
    // By this clock all has expired, and the server's certificate too, which is told as what it is.
    wait_for("nothing is served", || svids(&socket).is_empty());
    wait_for("the clock is blamed", || {
        report(&said_since(node, before), "HM-AGENT-0010").is_some()
    });
    let said = said_since(node, before);
    assert!(!said.contains("HM-AGENT-0002"), "{said}");
    // Real time: long enough that what is noted by the wrong clock would be far away.
    std::thread::sleep(Duration::from_secs(5));
    clock.set(0).unwrap();
    let back = Instant::now();
    wait_for("an SVID is served again", || svids(&socket).len() == 1);
    assert!(back.elapsed() < PATIENCE, "{}", node.log());
}

#[test]
fn agents_live_through_a_server_whose_clock_was_ahead() {
    let (mut trial, clock, _) = clocked();
    let with_clock = clock.env();
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    trial.lab.server().launch_with(&with_clock).unwrap();
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    register_own(&mut trial);
    let node = trial.node();
    node.start().unwrap();
    let socket = node.workload_api();
    wait_for("an SVID is served", || svids(&socket).len() == 1);

    clock.set(AHEAD).unwrap();
    let issued = |log: &str| log.matches("server identity issued").count();
    wait_for("the server has an SVID from the future", || {
        issued(&trial.lab.server().log()) >= 3
    });
    // An agent that comes now does not believe it.
    let node = trial.node();
    node.stop();
    let before = node.log().len();
    node.launch().unwrap();
    wait_for("the clock is blamed", || {
        report(&said_since(node, before), "HM-AGENT-0010").is_some()
    });

    clock.set(0).unwrap();
    trial.node().wait_ready(PATIENCE).unwrap();
    wait_for("an SVID is served again", || svids(&socket).len() == 1);
    wait_for("the server tells", || {
        report(&trial.lab.server().log(), "HM-SRV-0023").is_some()
    });
}

/// Nobody saw the clock being put right: the journal's last record tells.
#[test]
fn a_clock_that_is_put_right_while_the_server_is_down_is_told() {
    let (mut trial, clock, _) = clocked();
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    trial.lab.server().launch_with(&clock.env()).unwrap();
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    clock.set(AHEAD).unwrap();
    register_own(&mut trial);
    trial.lab.server().stop();
    assert!(
        report(&trial.lab.server().log(), "HM-SRV-0023").is_none(),
        "the control"
    );

    clock.set(0).unwrap();
    trial.lab.server().launch_with(&clock.env()).unwrap();
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    wait_for("the server tells", || {
        report(&trial.lab.server().log(), "HM-SRV-0023").is_some()
    });
}

/// The TPM goes through a reset while the agent runs on, as in a machine that hibernates: its firmware starts it and
/// measures.
fn reset(node: &Node) {
    let control = format!("127.0.0.1:{}", node.tpm().port() + 1);
    let out = Command::new("swtpm_ioctl")
        .args(["--tcp", &control, "-i"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // TPM2_Startup(CLEAR).
    let startup = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
    let answer = TpmSocket::connect(node.tpm().port())
        .unwrap()
        .transact(&startup)
        .unwrap();
    assert_eq!(answer.get(6..10), Some([0, 0, 0, 0].as_slice()), "{answer:02x?}");
    for pcr in 0..8 {
        node.tpm().extend(pcr, &[7; 32]).unwrap();
    }
}

#[test]
fn an_agent_whose_tpm_was_reset_attests_again_by_itself() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    register_own(&mut trial);
    let socket = trial.lab.server().admin_socket();
    let serial = move || agents(&socket).pop().map(|agent| agent.x509svid_serial_number);
    let node = trial.node();
    let proxy = TctiProxy::start(node.tpm().port()).unwrap();
    node.set("tpm", "tcti", proxy.tcti().into());
    node.start().unwrap();
    let workload_api = node.workload_api();
    wait_for("an SVID is served", || svids(&workload_api).len() == 1);
    let first = serial();
    let attested = |log: &str| log.matches(" attested ").count();
    assert_eq!(attested(&node.log()), 1, "{}", node.log());

    // The software TPM serves one connection at a time: the agent has to let go of it before the firmware can have it.
    proxy.set_rule(|_, _| Fault::Cut);
    let patient = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < 3 * PATIENCE, "still not: {what}: {}", node.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // Nobody asks, and the connection to the server stays open: the agent looks by itself.
    patient("a TPM that cannot be reached is told", &|| {
        report(&node.log(), "HM-TPM-0010").is_some()
    });
    reset(node);
    proxy.clear_rule();
    patient("it attests again", &|| attested(&node.log()) == 2);
    wait_for("the server knows the new key", || serial() != first);
    let log = node.log();
    assert!(log.contains("the TPM was reset"), "{log}");
    assert!(!log.contains("HM-AGENT-0002"), "nobody else is blamed: {log}");
    assert_eq!(svids(&workload_api).len(), 1);
}

#[test]
fn a_machine_that_was_booted_attests_without_a_false_alarm() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let node = trial.node();
    node.start().unwrap();
    node.stop();
    let before = node.log().len();
    node.start().unwrap();
    let said = said_since(node, before);
    assert!(
        said.contains("identity of the last run taken up"),
        "the control: {said}"
    );

    node.reboot().unwrap();
    let before = node.log().len();
    node.start().unwrap();
    let said = said_since(node, before);
    assert!(
        said.contains("ended with the boot") && said.contains(" attested "),
        "{said}"
    );
    assert!(!said.contains("HM-AGENT-") && !said.contains("do not trust"), "{said}");
}
