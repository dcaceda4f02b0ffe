//! A server or a TPM that is slow in the middle of an attestation delays nothing that is in memory, and nothing else that
//! the agent does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{Fault, Relay, TctiProxy};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use trial::{Trial, entry, register, svids, wait_for};

const QUOTE: u32 = 0x158;

/// A server whose agents renew their SVID after a quarter of a minute, and an agent with an entry.
fn laid_out() -> Trial {
    let mut trial = Trial::laid_out(1);
    trial.lab.server().set("authority", "agent_ttl", "30s".into());
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    register(&socket, entry(&trial.node().agent_id().unwrap(), "/first")).unwrap();
    trial
}

/// How often the agent has attested.
fn attested(trial: &mut Trial) -> usize {
    trial.node().log().matches(" attested").count()
}

/// While an attestation is held, the workload is served at once, and a new entry reaches it.
fn must_go_on(trial: &mut Trial, is_held: impl Fn() -> bool, release: impl FnOnce()) {
    let api = trial.node().workload_api();
    wait_for("an attestation is held", &is_held);
    let before = attested(trial);
    let start = Instant::now();
    assert_eq!(svids(&api).len(), 1);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let (socket, id) = (trial.lab.server().admin_socket(), trial.node().agent_id().unwrap());
    register(&socket, entry(&id, "/second")).unwrap();
    let start = Instant::now();
    wait_for("the new entry is served", || svids(&api).len() == 2);
    // The attestation's own limits are longer than this takes; what held it holds it still.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(is_held(), "the control: the attestation is held");
    assert_eq!(attested(trial), before);
    release();
    wait_for("the attestation ends", || attested(trial) > before);
    assert_eq!(svids(&api).len(), 2);
}

#[test]
fn an_attestation_that_the_server_does_not_answer_delays_nothing_else() {
    let mut trial = laid_out();
    let relay = Relay::start(&trial.lab.server().address()).unwrap();
    trial.node().set("server", "address", relay.address().into());
    trial.node().start().unwrap();
    let api = trial.node().workload_api();
    wait_for("an SVID is served", || svids(&api).len() == 1);
    // The connection for entries and SVIDs is open; an attestation makes one of its own.
    relay.hold_new();
    must_go_on(&mut trial, || relay.held() > 0, || relay.release());
}

#[test]
fn an_attestation_that_the_tpm_does_not_answer_delays_nothing_else() {
    let mut trial = laid_out();
    let proxy = TctiProxy::start(trial.node().tpm().port()).unwrap();
    trial.node().set("tpm", "tcti", proxy.tcti().into());
    trial.node().start().unwrap();
    let api = trial.node().workload_api();
    wait_for("an SVID is served", || svids(&api).len() == 1);
    let (release, released) = mpsc::channel::<()>();
    proxy.reset();
    proxy.set_rule(move |code, _| {
        if code == QUOTE {
            // It ends when the other end is dropped.
            let _ = released.recv();
        }
        Fault::None
    });
    let is_held = || proxy.counts().contains_key(&QUOTE);
    must_go_on(&mut trial, is_held, || drop(release));
}
