//! A clock that was two hours ahead, and came back.

use std::{sync::atomic::Ordering, time::Duration};

use hallmark_attacks::attest;
use hallmark_server::run::Running;
use hallmark_spiffe::SpiffeId;
use hallmark_verify::testing::SoftwareMachine;

use crate::{
    attestation::wire,
    client::Client,
    lab::{isolated, movable},
};

const AHEAD: i64 = 2 * 3600;
const MILLIS: u64 = 1000;

/// Whether who lives in the true time trusts the server.
async fn is_trusted(running: &Running) -> bool {
    let bundle = running.server.authority.load().bundle.clone();
    Client::anonymous(&bundle).handshake(running.address).await.is_ok()
}

async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("still not: {what}");
}

async fn accepted(running: &Running, machine: &SoftwareMachine) -> SpiffeId {
    let id = attest(&wire(running).await, machine).await.unwrap().id.unwrap();
    SpiffeId::parse(&format!("spiffe://{}{}", id.trust_domain, id.path)).unwrap()
}

#[test]
fn a_server_whose_clock_was_ahead_is_trusted_again_without_a_restart() {
    isolated(
        "clock::a_server_whose_clock_was_ahead_is_trusted_again_without_a_restart",
        async |lab| {
            let (clock, shift) = movable();
            let running = lab.try_start(clock).await.unwrap();
            assert!(is_trusted(&running).await, "the control");
            shift.store(AHEAD, Ordering::SeqCst);
            // Its own SVID has expired by its clock, and the new one is not valid yet for everybody else.
            wait_for("an SVID from the future", async || !is_trusted(&running).await).await;
            shift.store(0, Ordering::SeqCst);
            wait_for("an SVID of now", async || is_trusted(&running).await).await;
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_machine_that_was_seen_while_the_servers_clock_was_ahead_is_not_kept_out() {
    isolated(
        "clock::a_machine_that_was_seen_while_the_servers_clock_was_ahead_is_not_kept_out",
        async |lab| {
            let (clock, shift) = movable();
            let running = lab.try_start(clock).await.unwrap();
            let mut machine = SoftwareMachine::new(&lab.vendor);
            shift.store(AHEAD, Ordering::SeqCst);
            let node = accepted(&running, &machine).await;
            let seen = || running.server.kept.find(&node).unwrap().measure().seen_at;
            assert!(seen() > 0);
            shift.store(0, Ordering::SeqCst);
            wait_for("the time is doubted", async || seen() == 0).await;

            // Two hours pass, by every clock: since the time that the server noted, only a minute.
            shift.store(AHEAD + 60, Ordering::SeqCst);
            machine.clock += u64::try_from(AHEAD + 60).unwrap() * MILLIS;
            accepted(&running, &machine).await;
            assert!(seen() > 0, "from now on its times count again");

            // The control: a TPM's clock that runs ahead of the server's is refused.
            machine.clock += u64::try_from(AHEAD).unwrap() * MILLIS;
            assert!(attest(&wire(&running).await, &machine).await.is_err());
            machine.clock -= u64::try_from(AHEAD).unwrap() * MILLIS;
            accepted(&running, &machine).await;
            lab.stop(running).await;
        },
    );
}
