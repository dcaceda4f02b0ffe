//! A node's life beyond its attestation: approved, suspended, resumed, unbanned, retired; and the inventory.

use hallmark_api::{
    admin::{
        ChangeNodeRequest, ChangeNodeResponse, FindIdsRequest, GetNodeRequest, GetStatusRequest,
        ImportInventoryRequest, ImportInventoryResponse, ListNodesRequest, ListRecordsRequest,
        ListServedEntriesRequest, Node, RemoveInventoryRequest, admin_client::AdminClient,
        lifecycle_client::LifecycleClient,
    },
    agent::{DeleteAgentRequest, ListAgentsRequest, agent_client::AgentClient},
    types::permission_denied_details::Reason,
};
use hallmark_attacks::{attest, open};
use hallmark_server::{
    caller::Caller,
    clock::Clock,
    nodes::{Ask, ChangeFailed},
    run::Running,
};
use hallmark_state::Action;
use hallmark_verify::testing::SoftwareMachine;
use tonic::{Code, Status};

use crate::{
    attestation::{connected, post, reason, wire},
    client::local,
    lab::{Lab, isolated},
};

fn ek(machine: &SoftwareMachine) -> String {
    let ek = hallmark_verify::ek_sha256(&machine.claim().decode().unwrap()).unwrap();
    hex::encode(ek)
}

pub(crate) fn id(machine: &SoftwareMachine) -> String {
    format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine))
}

/// What an operator of this process's user does, over the socket.
async fn ask(lab: &Lab, machine: &SoftwareMachine, action: &str) -> Result<ChangeNodeResponse, Status> {
    let request = ChangeNodeRequest {
        id: id(machine),
        action: action.into(),
        reason: "a test".into(),
        dry_run: false,
    };
    let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
    client.change_node(request).await.map(tonic::Response::into_inner)
}

/// What the operator with this user id does.
async fn approve_as(running: &Running, uid: u32, machine: &SoftwareMachine) -> Result<usize, String> {
    let id = hallmark_spiffe::SpiffeId::parse(&id(machine)).unwrap();
    let ask = Ask {
        id: &id,
        action: Action::Approve,
        by: &Caller::Local(Some(uid)),
        reason: "",
        dry_run: false,
    };
    match running.server.nodes.change(ask).await {
        Ok(changed) => Ok(changed.approvals),
        Err(ChangeFailed::Refused(error)) => Err(hallmark_reason::Coded::code(&error).to_string()),
        Err(failed) => panic!("{failed:?}"),
    }
}

async fn nodes(lab: &Lab, state: &str) -> Vec<Node> {
    let request = ListNodesRequest {
        state: state.into(),
        ..Default::default()
    };
    let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
    client.list_nodes(request).await.unwrap().into_inner().nodes
}

pub(crate) async fn import(
    lab: &Lab,
    text: &str,
    how: ImportInventoryRequest,
) -> Result<ImportInventoryResponse, Status> {
    let first = ImportInventoryRequest {
        format: "csv".into(),
        ..how
    };
    // In small parts: nothing depends on where they are cut.
    let parts = text.as_bytes().chunks(50).map(|part| ImportInventoryRequest {
        data: bytes::Bytes::copy_from_slice(part),
        ..Default::default()
    });
    let messages: Vec<_> = std::iter::once(first).chain(parts).collect();
    let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
    client
        .import_inventory(tokio_stream::iter(messages))
        .await
        .map(tonic::Response::into_inner)
}

/// The steps in a node's life that were recorded: act, by, from, to, reason.
async fn steps(lab: &Lab) -> Vec<[String; 5]> {
    let request = ListRecordsRequest {
        kind: "admin".into(),
        ..Default::default()
    };
    let answer = AdminClient::new(local(&lab.admin_socket()).await)
        .list_records(request)
        .await
        .unwrap();
    let detail = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let records = answer.into_inner().records.into_iter();
    records
        .map(|record| {
            let detail = detail(&record.detail);
            ["act", "by", "from", "to", "reason"].map(|name| detail[name].as_str().unwrap_or_default().to_owned())
        })
        .collect()
}

fn told(status: &Status, code: &str) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().ends_with(&format!("({code})")), "{status}");
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[test]
fn a_node_waits_for_approval_and_then_is_let_in() {
    isolated(
        "lifecycle::a_node_waits_for_approval_and_then_is_let_in",
        async |mut lab| {
            lab.set_tpm2("approval", "one");
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            let stranger = SoftwareMachine::new(&lab.vendor);
            for machine in [&machine, &stranger] {
                told(
                    &attest(&wire(&running).await, machine).await.unwrap_err(),
                    "HM-SRV-0301",
                );
            }
            // Known to operators with its facts, and nobody's agent.
            let pending = nodes(&lab, "pending").await;
            assert_eq!(pending.len(), 2);
            let node = pending.iter().find(|node| node.id == id(&machine)).unwrap();
            assert_eq!((node.ek.as_str(), node.approvals_needed), (ek(&machine).as_str(), 1));
            assert!(!node.class.is_empty() && node.since > 0);
            let request = GetNodeRequest { id: id(&machine) };
            let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
            let shown = admin.get_node(request).await.unwrap().into_inner();
            assert_eq!((shown.state.as_str(), shown.verdict.as_str()), ("pending", "trusted"));
            let mut agents = AgentClient::new(local(&lab.admin_socket()).await);
            let listed = agents.list_agents(ListAgentsRequest::default()).await.unwrap();
            assert!(listed.into_inner().agents.is_empty());
            drop((admin, agents));

            lab.stop(running).await;
            let running = lab.start().await;
            assert_eq!(nodes(&lab, "pending").await.len(), 2, "after a restart");
            let changed = ask(&lab, &machine, "approve").await.unwrap();
            assert_eq!((changed.to.as_str(), changed.approvals), ("pending", 1));
            lab.stop(running).await;
            let running = lab.start().await;
            attest(&wire(&running).await, &machine).await.unwrap();
            assert_eq!(nodes(&lab, "active").await.len(), 1);
            let status = AdminClient::new(local(&lab.admin_socket()).await)
                .get_status(GetStatusRequest {})
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (status.agents, status.agents_pending, status.agents_suspended),
                (1, 1, 0)
            );
            // One node's approval is not another's.
            told(
                &attest(&wire(&running).await, &stranger).await.unwrap_err(),
                "HM-SRV-0301",
            );
            // Renewals need no new one.
            attest(&wire(&running).await, &machine).await.unwrap();
            let error = ask(&lab, &machine, "approve").await.unwrap_err();
            assert!(error.message().starts_with("HM-REG-0060") && error.code() == Code::FailedPrecondition);

            let uid = format!("uid:{}", own_uid());
            let acts: Vec<_> = steps(&lab).await;
            let about = |act: &str| acts.iter().find(|step| step[0] == act).unwrap().clone();
            assert_eq!(
                about("node-pending")[1..4],
                ["attestation", "unknown", "pending"].map(str::to_owned)
            );
            let approved = about("node-approved");
            assert_eq!(
                approved[1..],
                [uid.as_str(), "pending", "pending", "a test"].map(str::to_owned)
            );
            assert_eq!(
                about("node-admitted")[1..4],
                ["attestation", "pending", "active"].map(str::to_owned)
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_machine_that_the_inventory_lists_is_approved_before_it_is_seen() {
    isolated(
        "lifecycle::a_machine_that_the_inventory_lists_is_approved_before_it_is_seen",
        async |mut lab| {
            lab.set_tpm2("approval", "one");
            let running = lab.start().await;
            let (machine, unlisted) = (SoftwareMachine::new(&lab.vendor), SoftwareMachine::new(&lab.vendor));
            let error = ask(&lab, &machine, "approve").await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound, "nobody knows it yet: {error}");
            let line = format!("ek_sha256\n{}\n", ek(&machine));
            import(&lab, &line, ImportInventoryRequest::default()).await.unwrap();
            assert_eq!(nodes(&lab, "pre-registered").await[0].approvals_needed, 1);
            let approved = ask(&lab, &machine, "approve").await.unwrap();
            assert_eq!((approved.to.as_str(), approved.approvals), ("pre-registered", 1));
            assert_eq!(nodes(&lab, "pre-registered").await[0].approvals.len(), 1);
            let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
            let status = admin.get_status(GetStatusRequest {}).await.unwrap().into_inner();
            assert_eq!((status.agents_pre_registered, status.agents_active), (1, 0));
            // The approval goes with the line, and comes with a new one only by an operator's word.
            let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
            let gone = RemoveInventoryRequest {
                eks: vec![ek(&machine)],
                ..Default::default()
            };
            client.remove_inventory(gone).await.unwrap();
            assert!(nodes(&lab, "").await.is_empty());
            told(
                &attest(&wire(&running).await, &machine).await.unwrap_err(),
                "HM-SRV-0301",
            );
            import(&lab, &line, ImportInventoryRequest::default()).await.unwrap();
            ask(&lab, &machine, "approve").await.unwrap();
            told(
                &attest(&wire(&running).await, &unlisted).await.unwrap_err(),
                "HM-SRV-0301",
            );
            attest(&wire(&running).await, &machine).await.unwrap();
            assert_eq!(nodes(&lab, "active").await.len(), 1);
            lab.stop(running).await;
        },
    );
}

#[test]
fn ids_are_found_by_their_start_and_entries_by_their_node() {
    isolated(
        "lifecycle::ids_are_found_by_their_start_and_entries_by_their_node",
        async |lab| {
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            attest(&wire(&running).await, &machine).await.unwrap();
            let line = "ek_sha256\n".to_owned() + &"ab".repeat(32) + "\n";
            import(&lab, &line, ImportInventoryRequest::default()).await.unwrap();
            let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
            let mut find = async |kind: &str, prefix: &str| {
                let request = FindIdsRequest {
                    kind: kind.into(),
                    prefix: prefix.into(),
                };
                admin.find_ids(request).await.map(|found| found.into_inner().ids)
            };
            assert_eq!(find("node", &ek(&machine)[..12]).await.unwrap(), [id(&machine)]);
            assert_eq!(find("node", "").await.unwrap().len(), 2, "the listed one too");
            assert_eq!(find("inventory", "ABab").await.unwrap(), ["ab".repeat(32)]);
            assert!(find("node", "zz").await.unwrap().is_empty());
            assert_eq!(find("spoon", "").await.unwrap_err().code(), Code::InvalidArgument);
            let ttd = |path: &str| hallmark_api::types::Spiffeid {
                trust_domain: "example.org".into(),
                path: path.into(),
            };
            let parent = id(&machine);
            let entry = |entry_id: &str, path: &str, parent: &str| hallmark_api::types::Entry {
                id: entry_id.into(),
                spiffe_id: Some(ttd(path)),
                parent_id: Some(ttd(parent)),
                selectors: vec![hallmark_api::types::Selector {
                    r#type: "unix".into(),
                    value: "uid:1".into(),
                }],
                ..Default::default()
            };
            let own = parent.strip_prefix("spiffe://example.org").unwrap();
            let request = hallmark_api::entry::BatchCreateEntryRequest {
                entries: vec![
                    entry("web", "/web", own),
                    entry("below", "/below", "/web"),
                    entry("other", "/other", "/nobody"),
                ],
                output_mask: None,
            };
            let mut entries = hallmark_api::entry::entry_client::EntryClient::new(local(&lab.admin_socket()).await);
            entries.batch_create_entry(request).await.unwrap();
            assert_eq!(find("entry", "we").await.unwrap(), ["web"]);
            let request = ListServedEntriesRequest { node: id(&machine) };
            let mut parts = admin.list_served_entries(request).await.unwrap().into_inner();
            let mut served = Vec::new();
            while let Some(part) = parts.message().await.unwrap() {
                served.extend(part.entries.into_iter().map(|entry| entry.id));
            }
            served.sort();
            assert_eq!(served, ["below", "web"]);
            let stranger = ListServedEntriesRequest {
                node: format!("spiffe://example.org/spire/agent/tpm2/{}", "ab".repeat(32)),
            };
            let refused = admin.list_served_entries(stranger).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound);
            lab.stop(running).await;
        },
    );
}

#[test]
fn attack_53_one_operator_is_not_two() {
    isolated("lifecycle::attack_53_one_operator_is_not_two", async |mut lab| {
        lab.set_tpm2("approval", "two");
        let (clock, hand) = Clock::movable();
        let running = lab.try_start(clock).await.unwrap();
        let machine = SoftwareMachine::new(&lab.vendor);
        let refused = async || {
            let status = attest(&wire(&running).await, &machine).await.unwrap_err();
            told(&status, "HM-SRV-0301");
        };
        refused().await;
        assert_eq!(approve_as(&running, 1, &machine).await, Ok(1));
        assert_eq!(approve_as(&running, 1, &machine).await, Err("HM-REG-0062".into()));
        refused().await;
        // Nor is a user that is nobody's account.
        assert_eq!(
            approve_as(&running, 3_999_999_999, &machine).await,
            Err("HM-REG-0065".into())
        );
        refused().await;
        // An approval lapses: a day later the first one counts no more.
        hand.set(25 * 3600).await;
        assert_eq!(approve_as(&running, 2, &machine).await, Ok(1));
        refused().await;
        // The positive control: two people.
        assert_eq!(approve_as(&running, 1, &machine).await, Ok(2));
        attest(&wire(&running).await, &machine).await.unwrap();
        lab.stop(running).await;
    });
}

#[test]
fn attack_53_a_ban_is_no_way_around_an_approval() {
    isolated(
        "lifecycle::attack_53_a_ban_is_no_way_around_an_approval",
        async |mut lab| {
            lab.set_tpm2("approval", "one");
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            for around in [&["ban", "unban"][..], &["evict"]] {
                told(
                    &attest(&wire(&running).await, &machine).await.unwrap_err(),
                    "HM-SRV-0301",
                );
                ask(&lab, &machine, "approve").await.unwrap();
                for action in around {
                    ask(&lab, &machine, action).await.unwrap();
                }
                told(
                    &attest(&wire(&running).await, &machine).await.unwrap_err(),
                    "HM-SRV-0301",
                );
                ask(&lab, &machine, "approve").await.unwrap();
                attest(&wire(&running).await, &machine).await.unwrap();
                ask(&lab, &machine, "evict").await.unwrap();
            }
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_suspended_node_is_out_until_it_is_resumed() {
    isolated("lifecycle::a_suspended_node_is_out_until_it_is_resumed", async |lab| {
        let running = lab.start().await;
        let mut machine = SoftwareMachine::new(&lab.vendor);
        let svid = attest(&wire(&running).await, &machine).await.unwrap();
        let agent = connected(&running, &mut machine, svid).await;
        post(&agent, "1").await.unwrap();
        // One attestation is under way when the operator decides.
        let connection = wire(&running).await;
        let (mut attempt, challenge) = open(&connection, &machine.claim()).await.unwrap();
        let changed = ask(&lab, &machine, "suspend").await.unwrap();
        assert_eq!((changed.from.as_str(), changed.to.as_str()), ("active", "suspended"));
        assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentNotActive);
        let proof = hallmark_attacks::proof_message(&machine.prove(&challenge, connection.exporter()));
        told(&attempt.prove(&proof).await.unwrap_err(), "HM-SRV-0302");
        let refused = attest(&wire(&running).await, &machine).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::AgentNotActive);
        lab.stop(running).await;

        let running = lab.start().await;
        told(
            &attest(&wire(&running).await, &machine).await.unwrap_err(),
            "HM-SRV-0302",
        );
        ask(&lab, &machine, "resume").await.unwrap();
        let svid = attest(&wire(&running).await, &machine).await.unwrap();
        let agent = connected(&running, &mut machine, svid).await;
        post(&agent, "2").await.unwrap();
        lab.stop(running).await;
    });
}

#[test]
fn what_was_held_before_a_suspension_is_not_good_after_it() {
    isolated(
        "lifecycle::what_was_held_before_a_suspension_is_not_good_after_it",
        async |lab| {
            let running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let agent = connected(&running, &mut machine, svid).await;
            post(&agent, "1").await.unwrap();
            // Whoever has no SVID has none that expired.
            const FAR: i64 = 4_102_444_800;
            let counted = |now| {
                let counts = running.server.journal.state().count_nodes(now);
                (counts.active, counts.expired)
            };
            assert_eq!(counted(FAR), (1, 1), "the control");
            ask(&lab, &machine, "suspend").await.unwrap();
            ask(&lab, &machine, "resume").await.unwrap();
            assert_eq!(counted(FAR), (1, 0));
            assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentNotActive);
            lab.stop(running).await;
        },
    );
}

#[test]
fn attack_53_a_retired_node_comes_back_by_a_new_import_alone() {
    isolated(
        "lifecycle::attack_53_a_retired_node_comes_back_by_a_new_import_alone",
        async |lab| {
            let running = lab.start().await;
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let spiffe_id = svid.id.clone();
            let agent = connected(&running, &mut machine, svid).await;
            post(&agent, "1").await.unwrap();
            ask(&lab, &machine, "retire").await.unwrap();
            assert_eq!(reason(&post(&agent, "1").await.unwrap_err()), Reason::AgentBanned);
            let out = async || {
                told(
                    &attest(&wire(&running).await, &machine).await.unwrap_err(),
                    "HM-SRV-0303",
                )
            };
            out().await;
            for action in ["evict", "resume", "unban", "approve", "ban"] {
                let error = ask(&lab, &machine, action).await.unwrap_err();
                assert!(error.message().starts_with("HM-REG-0060"), "{action}: {error}");
            }
            let mut agents = AgentClient::new(local(&lab.admin_socket()).await);
            let deleted = agents.delete_agent(DeleteAgentRequest { id: spiffe_id }).await;
            assert_eq!(deleted.unwrap_err().code(), Code::FailedPrecondition);
            drop(agents);
            out().await;
            // The nightly import of a list that still has it changes nothing for it.
            let file = format!("ek_sha256,owner\n{},ops\n", ek(&machine));
            let imported = import(&lab, &file, ImportInventoryRequest::default()).await.unwrap();
            assert_eq!((imported.added.len(), imported.retired), (1, vec![ek(&machine)]));
            out().await;
            let readmit = ImportInventoryRequest {
                readmit: true,
                ..Default::default()
            };
            let imported = import(&lab, &file, readmit).await.unwrap();
            assert_eq!(imported.readmitted, [ek(&machine)]);
            assert_eq!(nodes(&lab, "pre-registered").await.len(), 1);
            attest(&wire(&running).await, &machine).await.unwrap();
            lab.stop(running).await;
        },
    );
}

#[test]
fn the_inventory_lets_machines_in_and_labels_them() {
    isolated(
        "lifecycle::the_inventory_lets_machines_in_and_labels_them",
        async |mut lab| {
            lab.set_tpm2("require_inventory", true);
            let running = lab.start().await;
            // One without an EK certificate, and one with.
            let bare = SoftwareMachine {
                ek_certificate: None,
                ..SoftwareMachine::new(&lab.vendor)
            };
            let certified = SoftwareMachine::new(&lab.vendor);
            assert!(attest(&wire(&running).await, &bare).await.is_err());
            assert!(attest(&wire(&running).await, &certified).await.is_err());
            let name: String = hex::encode(certified.ek.public.name());
            let good = format!(
                "ek_sha256,serial,owner,labels\n{},SN1,ops,site=berlin\n{name},SN2,ops,\n",
                ek(&bare).to_uppercase()
            );
            // All or none.
            let error = import(&lab, &format!("{good}abc,,,\n"), ImportInventoryRequest::default())
                .await
                .unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().starts_with("HM-REG-0072") && error.message().contains("line 4, column 1"));
            assert!(attest(&wire(&running).await, &bare).await.is_err());
            let dry = ImportInventoryRequest {
                dry_run: true,
                ..Default::default()
            };
            assert_eq!(import(&lab, &good, dry.clone()).await.unwrap().added.len(), 2);
            let late = format!("ek_sha256,expires\n{},2020-01-31T00:00:00Z\n{name},\n", ek(&bare));
            let rehearsed = import(&lab, &late, dry).await.unwrap();
            assert_eq!((rehearsed.added.len(), rehearsed.expired), (2, vec![ek(&bare)]));
            assert!(
                attest(&wire(&running).await, &bare).await.is_err(),
                "a rehearsal lets nobody in"
            );
            assert_eq!(
                import(&lab, &good, ImportInventoryRequest::default())
                    .await
                    .unwrap()
                    .added
                    .len(),
                2
            );
            assert_eq!(nodes(&lab, "pre-registered").await.len(), 2);

            lab.stop(running).await;
            let running = lab.start().await;
            attest(&wire(&running).await, &bare).await.unwrap();
            attest(&wire(&running).await, &certified).await.unwrap();
            let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
            let node = admin
                .get_node(GetNodeRequest { id: id(&bare) })
                .await
                .unwrap()
                .into_inner();
            for selector in ["inventory:owner:ops", "inventory:site:berlin"] {
                assert!(
                    node.selectors.iter().any(|found| found == selector),
                    "{:?}",
                    node.selectors
                );
            }
            drop(admin);
            let active = nodes(&lab, "active").await;
            let serials: Vec<_> = active.iter().map(|node| node.serial.as_str()).collect();
            assert!(serials.contains(&"SN1") && serials.contains(&"SN2"), "{serials:?}");

            let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
            let removal = |eks: Vec<String>| RemoveInventoryRequest {
                eks,
                ..Default::default()
            };
            let missing = client.remove_inventory(removal(vec![ek(&bare), "ab".repeat(32)])).await;
            assert_eq!(missing.unwrap_err().code(), Code::NotFound);
            attest(&wire(&running).await, &bare).await.unwrap();
            client.remove_inventory(removal(vec![ek(&bare)])).await.unwrap();
            assert!(attest(&wire(&running).await, &bare).await.is_err());
            attest(&wire(&running).await, &certified).await.unwrap();
            drop(client);
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_pre_registered_node_can_be_kept_out_before_it_comes() {
    isolated(
        "lifecycle::a_pre_registered_node_can_be_kept_out_before_it_comes",
        async |lab| {
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            let error = ask(&lab, &machine, "ban").await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound, "nobody knows it");
            let file = format!("ek_sha256\n{}\n", ek(&machine));
            import(&lab, &file, ImportInventoryRequest::default()).await.unwrap();
            let changed = ask(&lab, &machine, "ban").await.unwrap();
            assert_eq!(
                (changed.from.as_str(), changed.to.as_str()),
                ("pre-registered", "banned")
            );
            told(
                &attest(&wire(&running).await, &machine).await.unwrap_err(),
                "HM-SRV-0109",
            );
            ask(&lab, &machine, "unban").await.unwrap();
            attest(&wire(&running).await, &machine).await.unwrap();
            lab.stop(running).await;
        },
    );
}
