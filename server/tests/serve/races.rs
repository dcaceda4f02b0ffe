//! What changes between the verdict on a node and the hand-over of its SVID.

use std::{fs, sync::Arc, time::Duration};

use hallmark_api::{
    admin::{ImportInventoryRequest, lifecycle_client::LifecycleClient},
    types::X509svid as Svid,
};
use hallmark_attacks::attest;
use hallmark_policy::signed::FileKind;
use hallmark_server::{appraise::Offered, caller::Caller, journal::Act, nodes::Ask, run::Running};
use hallmark_state::{Action, Change, Node, NodeState, Outcome, PolicyFile, RecordQuery};
use hallmark_verify::testing::SoftwareMachine;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::{
    attestation::wire,
    client::local,
    lab::{Gate, commit, isolated},
};

/// The verdicts on record and the SVIDs that were issued.
async fn told(running: &Running) -> (Vec<(Outcome, String)>, u64) {
    let query = RecordQuery {
        limit: 1000,
        ..RecordQuery::default()
    };
    let records = running.server.journal.store().records(query).await.unwrap().into_iter();
    let verdicts = records.filter(|it| it.record.kind == hallmark_state::RecordKind::Verdict);
    let verdicts = verdicts.map(|it| (it.record.outcome, it.record.code)).collect();
    (verdicts, running.server.metrics.counters.issued.value())
}

fn node(running: &Running) -> Arc<Node> {
    running.server.journal.state().nodes().last().unwrap().clone()
}

fn attempt(running: &Running, machine: &Arc<SoftwareMachine>) -> JoinHandle<Result<Svid, Status>> {
    let (address, machine) = (running.address.to_string(), Arc::clone(machine));
    tokio::spawn(async move {
        let wire = hallmark_attacks::Wire::connect(&address).await.unwrap();
        attest(&wire, &machine).await
    })
}

#[test]
fn a_policy_that_lands_between_verdict_and_record_judges_too() {
    isolated(
        "races::a_policy_that_lands_between_verdict_and_record_judges_too",
        async |lab| {
            let running = lab.start().await;
            let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
            attest(&wire(&running).await, &machine).await.unwrap();
            let before = told(&running).await;

            let gate = Gate::close(&lab);
            let control = attempt(&running, &machine);
            Gate::waits(&running, 1).await;
            gate.open();
            control.await.unwrap().unwrap();
            let (verdicts, issued) = told(&running).await;
            assert_eq!(
                (verdicts.len(), issued),
                (before.0.len() + 1, before.1 + 1),
                "the control"
            );

            // The policy becomes durable first. The verdict was made without it, and waits behind it.
            let gate = Gate::close(&lab);
            let appraiser = Arc::clone(&running.server.appraiser);
            let applied = tokio::spawn(async move {
                let policy = b"version = 1\nname = \"p\"\nserial = 1\n[boot]\nsecure_boot = true\n".to_vec();
                let act = Act {
                    by: "uid:0".into(),
                    reason: String::new(),
                };
                appraiser
                    .apply(Offered::new(FileKind::Policy, policy), false, &act)
                    .await
            });
            Gate::waits(&running, 1).await;
            let overtaken = attempt(&running, &machine);
            Gate::waits(&running, 2).await;
            gate.open();
            assert_eq!(applied.await.unwrap().unwrap().changes.len(), 1);
            let refusal = overtaken.await.unwrap().unwrap_err();
            assert!(refusal.message().contains("HM-SRV-0104"), "{refusal}");
            let (verdicts, issued) = told(&running).await;
            assert_eq!(verdicts.last().unwrap().0, Outcome::Refused);
            assert_eq!(issued, before.1 + 1, "nothing was signed");
            let refusal = attest(&wire(&running).await, &machine).await.unwrap_err();
            assert!(refusal.message().contains("HM-SRV-0108"), "by the new rules: {refusal}");
            lab.stop(running).await;
        },
    );
}

/// A line of the inventory that comes after the verdict and before its record: of this machine, or of another.
#[test]
fn a_line_that_lands_between_verdict_and_record_counts() {
    isolated(
        "races::a_line_that_lands_between_verdict_and_record_counts",
        async |lab| {
            let running = lab.start().await;
            let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
            attest(&wire(&running).await, &machine).await.unwrap();
            let own = node(&running).ek_sha256.unwrap();
            for (ek, is_own) in [([0x11; 32], false), (own, true)] {
                let request = ImportInventoryRequest {
                    format: "csv".into(),
                    data: format!("ek_sha256,labels\n{},site=lab\n", hex::encode(ek)).into(),
                    ..Default::default()
                };
                let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
                // What is judged behind the line before would wait at the gate as well.
                running.server.appraiser.judge_behind("the line before").await.unwrap();
                let gate = Gate::close(&lab);
                let import = tokio::spawn(async move { client.import_inventory(tokio_stream::iter([request])).await });
                Gate::waits(&running, 1).await;
                let attempt = attempt(&running, &machine);
                Gate::waits(&running, 2).await;
                gate.open();
                import.await.unwrap().unwrap();
                let answer = attempt.await.unwrap();
                if is_own {
                    let refusal = answer.unwrap_err();
                    assert!(refusal.message().contains("HM-SRV-0104"), "{refusal}");
                } else {
                    answer.unwrap();
                }
            }
            attest(&wire(&running).await, &machine).await.unwrap();
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_ban_that_lands_between_verdict_and_record_counts() {
    isolated(
        "races::a_ban_that_lands_between_verdict_and_record_counts",
        async |lab| {
            let running = lab.start().await;
            let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
            attest(&wire(&running).await, &machine).await.unwrap();
            let (id, (_, issued)) = (node(&running).id.clone(), told(&running).await);
            let gate = Gate::close(&lab);
            let nodes = running.server.nodes.clone();
            let banning = tokio::spawn(async move {
                let by = Caller::Local(Some(0));
                let ask = Ask {
                    id: &id,
                    action: Action::Ban,
                    by: &by,
                    reason: "",
                    dry_run: false,
                };
                nodes.change(ask).await.is_ok()
            });
            Gate::waits(&running, 1).await;
            let attempt = attempt(&running, &machine);
            Gate::waits(&running, 2).await;
            gate.open();
            assert!(banning.await.unwrap());
            let refusal = attempt.await.unwrap().unwrap_err();
            assert!(refusal.message().contains("HM-SRV-0109"), "{refusal}");
            assert_eq!(told(&running).await.1, issued, "nothing was signed");
            assert_eq!(node(&running).state, NodeState::Banned);
            lab.stop(running).await;
        },
    );
}

#[test]
fn an_svid_that_the_token_did_not_sign_leaves_the_node_as_it_was() {
    isolated(
        "races::an_svid_that_the_token_did_not_sign_leaves_the_node_as_it_was",
        async |lab| {
            let running = lab.start().await;
            let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
            attest(&wire(&running).await, &machine).await.unwrap();
            let row = node(&running);
            let token = fs::read_dir(lab.folder.join("tokens"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path();
            let away = lab.folder.join("away");
            fs::rename(&token, &away).unwrap();
            // SoftHSM answers from memory until it looks at the folder.
            fs::create_dir(&token).unwrap();
            drop(running.server.keys.find("another").await);
            let refusal = attest(&wire(&running).await, &machine).await.unwrap_err();
            assert!(refusal.message().contains("HM-SRV-0113"), "{refusal}");
            let (verdicts, issued) = told(&running).await;
            let outcomes: Vec<_> = verdicts.iter().rev().take(2).map(|(outcome, _)| *outcome).collect();
            assert_eq!(
                outcomes,
                [Outcome::Failed, Outcome::Accepted],
                "trusted, and without an SVID"
            );
            let failed = node(&running);
            assert_eq!(
                (failed.state, failed.current, failed.next),
                (NodeState::Active, row.current, None)
            );
            fs::remove_dir_all(&token).unwrap();
            fs::rename(&away, &token).unwrap();
            attest(&wire(&running).await, &machine).await.unwrap();
            assert!(node(&running).next.is_some());
            assert_eq!(told(&running).await.1, issued + 1);
            lab.stop(running).await;
        },
    );
}

#[test]
fn two_first_attestations_at_once_are_one_node() {
    isolated("races::two_first_attestations_at_once_are_one_node", async |lab| {
        let running = lab.start().await;
        let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
        let attempts = (0..8).map(|_| {
            let machine = Arc::clone(&machine);
            let address = running.address.to_string();
            tokio::spawn(async move {
                let wire = hallmark_attacks::Wire::connect(&address).await.unwrap();
                attest(&wire, &machine).await
            })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut let_in = 0;
        for attempt in attempts {
            let_in += u64::from(attempt.await.unwrap().is_ok());
        }
        assert!(let_in >= 1);
        assert_eq!(running.server.journal.state().nodes().count(), 1);
        // The server's own identity, and one for each that was accepted: what is refused is not signed. Who was overtaken
        // after that is told so, for its SVID is not the node's any more.
        let (verdicts, issued) = told(&running).await;
        let accepted = verdicts
            .iter()
            .filter(|(outcome, _)| *outcome == Outcome::Accepted)
            .count();
        assert_eq!(issued, u64::try_from(accepted).unwrap() + 1);
        assert!(let_in < issued, "{let_in} of {issued}");
        lab.stop(running).await;
    });
}

#[test]
fn a_run_of_the_agent_that_another_took_over_from_stays_over_across_a_restart() {
    isolated(
        "races::a_run_of_the_agent_that_another_took_over_from_stays_over_across_a_restart",
        async |lab| {
            let mut running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            for session in [1, 2] {
                machine.session = session;
                attest(&wire(&running).await, &machine).await.unwrap();
            }
            for _ in 0..2 {
                for (session, is_over) in [(1, true), (2, false)] {
                    machine.session = session;
                    let attested = attest(&wire(&running).await, &machine).await;
                    assert_eq!(attested.is_err(), is_over, "run {session}: {attested:?}");
                    let (verdicts, _) = told(&running).await;
                    let code = if is_over { "HM-VERIFY-0807" } else { "" };
                    assert_eq!(verdicts.last().unwrap().1, code);
                }
                lab.stop(running).await;
                running = lab.start().await;
            }
            lab.stop(running).await;
        },
    );
}

/// New rules may land while the token signs: what it signed is then not handed over.
#[test]
fn a_node_that_lost_its_trust_while_the_token_signed_gets_nothing() {
    isolated(
        "races::a_node_that_lost_its_trust_while_the_token_signed_gets_nothing",
        async |lab| {
            let running = lab.start().await;
            let machine = Arc::new(SoftwareMachine::new(&lab.vendor));
            attest(&wire(&running).await, &machine).await.unwrap();
            for loses_trust in [false, true] {
                let before = node(&running).next;
                // The token has much to do before it comes to the node's SVID.
                let busy: Vec<_> = (0..8).map(|_| tokio::spawn(much_to_sign(&running))).collect();
                let attempt = {
                    let (wire, machine) = (wire(&running).await, Arc::clone(&machine));
                    tokio::spawn(async move { attest(&wire, &machine).await })
                };
                while node(&running).next == before {
                    assert!(!attempt.is_finished());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let untrusted_reason = if loses_trust { "HM-POLICY-0101" } else { "" }.to_owned();
                let row = Node {
                    untrusted_reason,
                    ..Node::clone(&node(&running))
                };
                commit(&running, vec![Change::PutNode(Arc::new(row))]).await;
                assert!(!attempt.is_finished(), "the token was not busy for long enough");
                let answer = attempt.await.unwrap();
                match (loses_trust, answer) {
                    (false, answer) => drop(answer.unwrap()),
                    (true, answer) => {
                        let refusal = answer.unwrap_err();
                        assert!(refusal.message().contains("HM-SRV-0104"), "{refusal}");
                    }
                }
                for busy in busy {
                    busy.await.unwrap();
                }
            }
            lab.stop(running).await;
        },
    );
}

/// A server that ended between the commit of new rules and the last node's verdict by them makes up for it before it serves.
#[test]
fn rules_that_were_stored_and_not_yet_applied_count_from_the_start() {
    isolated(
        "races::rules_that_were_stored_and_not_yet_applied_count_from_the_start",
        async |lab| {
            let running = lab.start().await;
            attest(&wire(&running).await, &SoftwareMachine::new(&lab.vendor))
                .await
                .unwrap();
            lab.stop(running).await;
            let running = lab.start().await;
            assert_eq!(node(&running).untrusted_reason, "", "the control");
            let verdicts = told(&running).await.0.len();
            let policy = PolicyFile {
                kind: FileKind::Policy.as_str().to_owned(),
                name: "p".to_owned(),
                serial: 1,
                payload: b"version = 1\nname = \"p\"\nserial = 1\n[boot]\nsecure_boot = true\n".to_vec(),
                signed: String::new(),
                applied_at: 1,
                in_force: true,
            };
            commit(&running, vec![Change::PutPolicyFile(Arc::new(policy))]).await;
            lab.stop(running).await;
            let running = lab.start().await;
            assert_eq!(node(&running).untrusted_reason, "HM-POLICY-0101");
            let recorded = told(&running).await.0;
            assert_eq!(recorded.len(), verdicts + 1);
            assert_eq!(recorded.last().unwrap().1, "HM-POLICY-0101");
            lab.stop(running).await;
        },
    );
}

pub(crate) fn much_to_sign(running: &Running) -> impl Future<Output = ()> + use<> {
    let (keys, authority) = (Arc::clone(&running.server.keys), running.server.authority.load_full());
    async move {
        let (id, alg) = (&authority.key.id, authority.key.kind.signature_alg());
        keys.sign_batch(id, alg, vec![vec![7; 300]; 1000]).await.unwrap();
    }
}
