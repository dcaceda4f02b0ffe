//! A clock that was two hours ahead, and came back.

use hallmark_attacks::attest;
use hallmark_server::{clock::Clock, run::Running};
use hallmark_spiffe::SpiffeId;
use hallmark_verify::testing::SoftwareMachine;

use crate::{attestation::wire, client::Client, lab::isolated};

const AHEAD: i64 = 2 * 3600;
const MILLIS: u64 = 1000;

/// Whether who lives in the true time trusts the server.
async fn is_trusted(running: &Running) -> bool {
    let bundle = running.server.authority.load().bundle.clone();
    Client::anonymous(&bundle).handshake(running.address).await.is_ok()
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
            let (clock, hand) = Clock::movable();
            let running = lab.try_start(clock).await.unwrap();
            assert!(is_trusted(&running).await, "the control");
            hand.set(AHEAD).await;
            // Its own SVID has expired by its clock, and the new one is not valid yet for everybody else.
            assert!(!is_trusted(&running).await, "an SVID from the future");
            hand.set(0).await;
            assert!(is_trusted(&running).await, "an SVID of now");
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_machine_that_was_seen_while_the_servers_clock_was_ahead_is_not_kept_out() {
    isolated(
        "clock::a_machine_that_was_seen_while_the_servers_clock_was_ahead_is_not_kept_out",
        async |lab| {
            let (clock, hand) = Clock::movable();
            let running = lab.try_start(clock).await.unwrap();
            let mut machine = SoftwareMachine::new(&lab.vendor);
            hand.set(AHEAD).await;
            let node = accepted(&running, &machine).await;
            let seen = || {
                running
                    .server
                    .journal
                    .state()
                    .attestation(&node)
                    .unwrap()
                    .quote_clock
                    .seen_at
            };
            assert!(seen() > 0);
            hand.set(0).await;
            assert_eq!(seen(), 0, "the time is doubted");

            // Two hours pass, by every clock: since the time that the server noted, only a minute.
            hand.set(AHEAD + 60).await;
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
