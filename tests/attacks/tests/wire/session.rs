//! Attacks 9, 26, 34: answers of another session, moment or machine; and a connection that binds nothing.

use crate::scene::{Site, site};
use hallmark_api::admin::ListRecordsRequest;
use hallmark_attacks::{Wire, attest, open, proof_message};
use hallmark_verify::testing::SoftwareMachine;
use prost::Message as _;

#[test]
fn attack_09_the_secret_of_another_session() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let (one, two) = (site.wire().await, site.wire().await);
        let (mut first, first_challenge) = open(&one, &machine.claim()).await.unwrap();
        let (mut second, second_challenge) = open(&two, &machine.claim()).await.unwrap();
        let name = machine.ak.public.name();
        let opened = |challenge: &hallmark_verify::testing::ChallengeParts| {
            let credential = challenge
                .credential
                .as_ref()
                .expect("a machine not known yet gets a credential");
            machine.ek.activate(credential, &name)
        };
        let crossed = machine.prove_with(&second_challenge, two.exporter(), |draft| {
            draft.activated_secret = opened(&first_challenge);
        });
        let told = second.prove(&proof_message(&crossed)).await.unwrap_err();
        site.refused("crossed between sessions", &told, "HM-VERIFY-0311").await;

        // The first session is untouched by that, and its own secret is good, once.
        let honest = proof_message(&machine.prove(&first_challenge, one.exporter()));
        first.prove(&honest).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted");
        let (mut again, challenge) = open(&one, &machine.claim()).await.unwrap();
        assert!(challenge.credential.is_none(), "this AK was activated before");
        let told = again.prove(&honest).await.unwrap_err();
        site.refused("the old answer again", &told, "HM-VERIFY-0310").await;
        let (mut again, _) = open(&one, &machine.claim()).await.unwrap();
        let mut without_secret = honest.clone();
        without_secret.activated_secret.clear();
        let told = again.prove(&without_secret).await.unwrap_err();
        site.refused("the old answer without its secret", &told, "HM-VERIFY-0409")
            .await;
        site.control(&one, "replay").await;
    });
}

async fn issued(site: &mut Site) -> usize {
    let request = ListRecordsRequest {
        limit: 1000,
        kind: "svid".into(),
        ..Default::default()
    };
    let records = site
        .admin
        .admin
        .list_records(request)
        .await
        .unwrap()
        .into_inner()
        .records;
    records.iter().filter(|record| record.outcome == "issued").count()
}

/// The same once the outcomes have landed that travel with the next flush.
async fn settled(site: &mut Site) -> usize {
    // Real time: one more would be on record by now.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    issued(site).await
}

#[test]
fn attack_09_one_answer_submitted_twice_counts_once() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let wire = site.wire().await;
        site.control(&wire, "before").await;
        let before = settled(site).await;
        let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
        let proof = proof_message(&machine.prove(&challenge, wire.exporter())).encode_to_vec();
        attempt.send(proof.clone().into()).await.unwrap();
        attempt.send(proof.clone().into()).await.unwrap();
        attempt.svid().await.unwrap();
        assert!(attempt.svid().await.is_err(), "one challenge, one SVID");
        // On a second stream of the same connection the same answer is for no challenge.
        let (mut second, _) = open(&wire, &machine.claim()).await.unwrap();
        second.send(proof.into()).await.unwrap();
        second.svid().await.unwrap_err();
        let outcomes: Vec<_> = site.verdicts().await.into_iter().map(|v| v.outcome).collect();
        assert_eq!(outcomes, ["accepted", "refused"]);
        assert_eq!(settled(site).await, before + 1);
    });
}

#[test]
fn attack_26_an_old_quote_and_the_nonce_of_another_session() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let wire = site.wire().await;
        let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
        let old = machine.prove(&challenge, wire.exporter());
        attempt.prove(&proof_message(&old)).await.unwrap();
        site.verdicts().await;

        let (mut attempt, fresh) = open(&wire, &machine.claim()).await.unwrap();
        let mut answer = machine.prove(&fresh, wire.exporter());
        answer.quote = old.quote;
        let told = attempt.prove(&proof_message(&answer)).await.unwrap_err();
        site.refused("old quote", &told, "HM-VERIFY-0509").await;

        let (_kept, other) = open(&wire, &machine.claim()).await.unwrap();
        let (mut attempt, mine) = open(&wire, &machine.claim()).await.unwrap();
        assert_ne!(other.nonce, mine.nonce, "every challenge has its own nonce");
        let told = attempt
            .prove(&proof_message(&machine.prove(&other, wire.exporter())))
            .await
            .unwrap_err();
        site.refused("another session's nonce", &told, "HM-VERIFY-0409").await;
        site.control(&wire, "old quote").await;
    });
}

/// A clean machine answers for a dirty one: with its own quote, or with everything over a connection that is not its own.
#[test]
fn attack_34_relay() {
    site(async |site| {
        let (clean, dirty) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        let (wire, elsewhere) = (site.wire().await, site.wire().await);
        let (mut attempt, challenge) = open(&wire, &dirty.claim()).await.unwrap();
        let mut answer = dirty.prove(&challenge, wire.exporter());
        let bound_to_dirty = {
            let mut taken = Vec::new();
            let _ = dirty.prove_with(&challenge, wire.exporter(), |draft| {
                taken.clone_from(&draft.quote.extra_data);
            });
            taken
        };
        answer.quote = clean
            .prove_with(&challenge, wire.exporter(), |draft| {
                draft.quote.extra_data = bound_to_dirty
            })
            .quote;
        let told = attempt.prove(&proof_message(&answer)).await.unwrap_err();
        site.refused("the clean machine's quote", &told, "HM-VERIFY-0507").await;

        // The clean machine believes to answer a server; the attacker passes on what it says.
        let (mut attempt, challenge) = open(&wire, &clean.claim()).await.unwrap();
        let for_attacker = clean.prove(&challenge, elsewhere.exporter());
        let told = attempt.prove(&proof_message(&for_attacker)).await.unwrap_err();
        site.refused("made for another connection", &told, "HM-VERIFY-0409")
            .await;
        assert!(told.message().contains("proxy"), "{told}");
        site.control(&wire, "relay").await;
    });
}

#[test]
fn tls_12_binds_nothing_and_is_refused() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let old = Wire::connect_tls12(&site.address).await.unwrap();
        let told = attest(&old, &machine).await.unwrap_err();
        site.refused_as("TLS 1.2", &told, "HM-SRV-0110", "HM-SRV-0110").await;
        assert!(told.message().contains("TLS 1.3"), "{told}");
        let wire = site.wire().await;
        attest(&wire, &machine).await.unwrap();
    });
}
