//! Stored evidence of one node that does not read back: the others are served, and it attests again.

use std::sync::Arc;

use hallmark_api::{
    admin::{
        ChangeNodeRequest, GetEvidenceRequest, GetStatusRequest, GetStatusResponse, ListNodesRequest, Node, Part,
        admin_client::AdminClient, lifecycle_client::LifecycleClient,
    },
    svid::{BatchNewX509svidRequest, NewX509svidParams, svid_client::SvidClient},
    types::{Entry, Selector, Spiffeid, permission_denied_details::Reason},
};
use hallmark_attacks::attest;
use hallmark_policy::signed::FileKind;
use hallmark_server::{
    appraise::{Applied, Offered},
    journal::Act,
    run::Running,
};
use hallmark_spiffe::SpiffeId;
use hallmark_verify::testing::{RevocationDraft, SoftwareKey, SoftwareMachine};
use tonic::{Code, Status};

use crate::{
    attestation::{reason, wire},
    client::local,
    lab::{Lab, isolated},
    roles::{chain, connect, create, list},
};

/// An SVID with its key.
type Identity = (Vec<Vec<u8>>, Arc<SoftwareKey>);

/// A machine that attested, and a workload on it that is an administrator.
struct Machine {
    machine: SoftwareMachine,
    id: SpiffeId,
    name: &'static str,
    node: Identity,
    admin: Identity,
}

impl Machine {
    async fn new(lab: &Lab, running: &Running, name: &'static str) -> Self {
        let mut machine = SoftwareMachine::new(&lab.vendor);
        let (parent, node) = attested(running, &mut machine).await;
        let entry = Entry {
            id: name.into(),
            spiffe_id: Some(Spiffeid {
                trust_domain: "example.org".into(),
                path: format!("/{name}"),
            }),
            parent_id: Some(parent.clone()),
            selectors: vec![Selector {
                r#type: "unix".into(),
                value: "uid:1".into(),
            }],
            admin: true,
            ..Entry::default()
        };
        create(lab, vec![entry]).await;
        let mut new = Self {
            id: SpiffeId::parse(&format!("spiffe://{}{}", parent.trust_domain, parent.path)).unwrap(),
            admin: node.clone(),
            machine,
            name,
            node,
        };
        new.admin = new.issue(running).await.unwrap();
        new
    }

    /// An SVID of its workload.
    async fn issue(&self, running: &Running) -> Result<Identity, Status> {
        let key = SoftwareKey::svid();
        let params = vec![NewX509svidParams {
            entry_id: self.name.into(),
            csr: key.csr_for(&key.spki()).into(),
        }];
        let (chain_of_node, key_of_node) = self.node.clone();
        let node = connect(running, chain_of_node, key_of_node).await;
        let answer = SvidClient::new(node)
            .batch_new_x509svid(BatchNewX509svidRequest { params })
            .await?;
        let svid = answer.into_inner().results.remove(0).svid.unwrap();
        Ok((chain(&svid), key.into()))
    }

    /// Asks something as the administrator on it.
    async fn ask(&self, running: &Running) -> Result<(), Status> {
        let (chain, key) = self.admin.clone();
        list(&connect(running, chain, key).await).await
    }

    async fn attest_again(&mut self, running: &Running) {
        self.node = attested(running, &mut self.machine).await.1;
    }
}

/// Its SPIFFE ID, and its SVID; the machine goes on with a fresh key.
async fn attested(running: &Running, machine: &mut SoftwareMachine) -> (Spiffeid, Identity) {
    // Lists that are read meanwhile make a challenge stale; agents try again too.
    let mut answer = attest(&wire(running).await, machine).await;
    for _ in 0..20 {
        if !answer.as_ref().is_err_and(|status| status.code() == Code::Aborted) {
            break;
        }
        answer = attest(&wire(running).await, machine).await;
    }
    let svid = answer.unwrap();
    let key = std::mem::replace(&mut machine.svid, SoftwareKey::svid());
    (svid.id.clone().unwrap(), (chain(&svid), key.into()))
}

async fn status(lab: &Lab) -> GetStatusResponse {
    let mut client = AdminClient::new(local(&lab.admin_socket()).await);
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

/// The node of this id, as operators see it.
async fn nodes_of(lab: &Lab, id: &SpiffeId) -> Vec<Node> {
    let request = ListNodesRequest {
        id: id.to_string(),
        ..ListNodesRequest::default()
    };
    let mut lifecycle = LifecycleClient::new(local(&lab.admin_socket()).await);
    lifecycle.list_nodes(request).await.unwrap().into_inner().nodes
}

/// Changes the store as another program would.
fn damage(lab: &Lab, sql: &str, whose: &str) {
    let store = rusqlite::Connection::open(lab.folder.join("data/server.db")).unwrap();
    assert_eq!(store.execute(sql, [whose]).unwrap(), 1);
}

async fn apply(running: &Running, serial: u64, dry_run: bool) -> Applied {
    // It only reports: both machines stay trusted.
    let content =
        format!("version = 1\nname = \"p\"\nserial = {serial}\n[mode]\ndry_run = true\n[boot]\nsecure_boot = true\n");
    let act = Act {
        by: "uid:0".into(),
        reason: String::new(),
    };
    running
        .server
        .appraiser
        .apply(Offered::new(FileKind::Policy, content.into_bytes()), dry_run, &act)
        .await
        .unwrap()
}

/// The store stays, the rules become others, and what is kept of one of two nodes is damaged by `sql`.
async fn one_is_damaged(mut lab: Lab, sql: &str) {
    let running = lab.start().await;
    let good = Machine::new(&lab, &running, "good").await;
    let mut bad = Machine::new(&lab, &running, "bad").await;
    for machine in [&good, &bad] {
        machine.ask(&running).await.unwrap();
    }
    assert_eq!(status(&lab).await.agents_unjudged, 0);
    lab.stop(running).await;
    damage(&lab, sql, bad.id.as_str());
    lab.set_tpm2(
        "deny",
        toml::Table::from_iter([("models".into(), vec!["of nobody"].into())]),
    );

    let running = lab.start().await;
    let told = status(&lab).await;
    assert_eq!((told.agents_behind, told.agents_unjudged), (1, 1));
    let part = told.parts.iter().find(|part| part.name == "evidence").unwrap();
    assert!(part.ok && part.code == "HM-SRV-0035", "{part:?}");
    assert!(part.message.contains(bad.id.as_str()), "{part:?}");

    // Who looks at the nodes, or at what the bad one proved, is told the same.
    let shown = async |id: &SpiffeId| nodes_of(&lab, id).await.remove(0).untrusted_reason;
    assert_eq!(
        (shown(&bad.id).await.as_str(), shown(&good.id).await.as_str()),
        ("HM-SRV-0034", "")
    );
    let evidence = async |id: &SpiffeId| {
        let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
        let request = GetEvidenceRequest { id: id.to_string() };
        admin.get_evidence(request).await.map(drop)
    };
    evidence(&good.id).await.unwrap();
    match evidence(&bad.id).await {
        Err(unread) => assert!(
            unread.code() == Code::DataLoss && unread.message().starts_with("HM-SRV-0034: "),
            "{unread}"
        ),
        // What is shown of the evidence is whole.
        Ok(()) => assert!(!sql.contains("facts"), "{sql}"),
    }

    // The good one is served, and its administrator heard.
    good.issue(&running).await.unwrap();
    good.ask(&running).await.unwrap();
    for _ in 0..2 {
        let refused = bad.issue(&running).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::AgentMustReattest);
        assert!(refused.message().contains("HM-SRV-0034"), "{refused}");
        let refused = bad.ask(&running).await.unwrap_err();
        assert!(refused.message().contains("HM-SRV-0347"), "{refused}");
    }

    // A policy is applied for the others, and says how many it could not be held against.
    for dry_run in [true, false] {
        let applied = apply(&running, 1, dry_run).await;
        assert_eq!(applied.unreadable, 1, "{applied:?}");
    }
    let rules = running.server.journal.state().rules().revision;
    let judged_by = |id: &SpiffeId| running.server.journal.state().node(id).unwrap().appraised.rules;
    assert_eq!(judged_by(&good.id), rules);
    assert!(judged_by(&bad.id) < rules);

    bad.attest_again(&running).await;
    bad.issue(&running).await.unwrap();
    bad.ask(&running).await.unwrap();
    let told = status(&lab).await;
    assert_eq!((told.agents_behind, told.agents_unjudged), (0, 0));
    assert!(told.parts.iter().all(|part| part.name != "evidence"));
    // It is judged again by what it proved now.
    assert_eq!(apply(&running, 2, false).await.unreadable, 0);
    lab.stop(running).await;
    let running = lab.start().await;
    assert_eq!(status(&lab).await.agents_behind, 0, "across a restart");
    lab.stop(running).await;
}

#[test]
fn facts_that_do_not_read_back_keep_no_server_from_starting() {
    isolated(
        "unreadable::facts_that_do_not_read_back_keep_no_server_from_starting",
        async |lab| one_is_damaged(lab, "UPDATE evidence SET facts = '{' WHERE node = ?1").await,
    );
}

#[test]
fn a_history_that_does_not_read_back_keeps_no_server_from_starting() {
    isolated(
        "unreadable::a_history_that_does_not_read_back_keeps_no_server_from_starting",
        async |lab| {
            one_is_damaged(
                lab,
                "UPDATE evidence SET sighting = CAST(x'ff' AS TEXT) WHERE node = ?1",
            )
            .await;
        },
    );
}

#[test]
fn evidence_that_is_gone_is_judged_as_nothing() {
    isolated("unreadable::evidence_that_is_gone_is_judged_as_nothing", async |lab| {
        let running = lab.start().await;
        let gone = Machine::new(&lab, &running, "gone").await;
        assert_eq!(apply(&running, 1, false).await.unreadable, 0, "the control");
        lab.stop(running).await;
        damage(&lab, "DELETE FROM evidence WHERE node = ?1", gone.id.as_str());
        // A server that never saw the evidence knows that there was some.
        let running = lab.start().await;
        assert_eq!(apply(&running, 2, false).await.unreadable, 1);
        let refused = gone.issue(&running).await.unwrap_err();
        assert!(refused.message().contains("HM-SRV-0034"), "{refused}");
        lab.stop(running).await;
    });
}

/// The part of the status that names nodes of which what is stored does not read back.
async fn evidence_part(lab: &Lab) -> Option<Part> {
    status(lab).await.parts.into_iter().find(|part| part.name == "evidence")
}

/// The EK certificate of one of two machines is damaged by `sql`.
async fn a_certificate_is_damaged(mut lab: Lab, sql: &str) {
    let running = lab.start().await;
    let good = Machine::new(&lab, &running, "good").await;
    let mut bad = Machine::new(&lab, &running, "bad").await;
    lab.stop(running).await;
    let ek = bad.id.path().rsplit('/').next().unwrap().to_owned();
    damage(&lab, sql, &ek);

    let running = lab.start().await;
    bad.issue(&running)
        .await
        .expect("without lists nothing rests on the certificate");
    assert_eq!(evidence_part(&lab).await, None);
    lab.stop(running).await;

    let list = lab.folder.join("vendor.crl");
    let draft = RevocationDraft::of_intermediate();
    std::fs::write(&list, draft.sign(&lab.vendor.intermediate_key)).unwrap();
    lab.set_tpm2("crls", vec![list.display().to_string()]);
    // It vouches for the key: that the certificate was verified must not be forgotten for it.
    let inventory = lab.folder.join("inventory");
    std::fs::write(&inventory, format!("ek_sha256\n{ek}\n")).unwrap();
    lab.set_tpm2("ek_inventory", inventory.display().to_string());
    let running = lab.start().await;
    let part = evidence_part(&lab).await.unwrap();
    assert!(part.ok && part.code == "HM-SRV-0035", "{part:?}");
    assert!(part.message.contains(bad.id.as_str()), "{part:?}");
    // It is told as what it is: nobody says that its vendor revoked it.
    let shown = nodes_of(&lab, &bad.id).await.remove(0);
    assert_eq!(shown.untrusted_reason, "HM-POLICY-0012");
    let evidence = GetEvidenceRequest { id: bad.id.to_string() };
    let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
    let mut parts = admin.get_evidence(evidence).await.unwrap().into_inner();
    let first = parts.message().await.unwrap().unwrap();
    let appraisal = format!("{first:?}");
    assert!(
        appraisal.contains("HM-POLICY-0012") && appraisal.contains("a certificate with its issuers"),
        "{appraisal}"
    );
    good.issue(&running).await.unwrap();
    good.ask(&running).await.unwrap();
    assert_eq!(
        reason(&bad.issue(&running).await.unwrap_err()),
        Reason::AgentMustReattest
    );
    bad.ask(&running).await.unwrap_err();

    let certificate = bad.machine.ek_certificate.take();
    let refused = attest(&wire(&running).await, &bad.machine).await.unwrap_err();
    assert!(
        refused.to_string().contains("HM-SRV-0113"),
        "without its certificate: {refused}"
    );
    bad.machine.ek_certificate = certificate;
    bad.attest_again(&running).await;
    bad.issue(&running).await.unwrap();
    bad.ask(&running).await.unwrap();
    assert_eq!(evidence_part(&lab).await, None);
    lab.stop(running).await;
    let running = lab.start().await;
    bad.issue(&running).await.expect("across a restart");
    // With the inventory alone it comes by what is kept again.
    bad.machine.ek_certificate = None;
    bad.attest_again(&running).await;
    lab.stop(running).await;
}

#[test]
fn an_ek_certificate_that_does_not_read_back_costs_its_node_alone() {
    isolated(
        "unreadable::an_ek_certificate_that_does_not_read_back_costs_its_node_alone",
        async |lab| {
            a_certificate_is_damaged(lab, "UPDATE ek_certificates SET certificate = '{' WHERE ek = ?1").await;
        },
    );
}

#[test]
fn an_ek_certificate_that_is_no_text_costs_its_node_alone() {
    isolated(
        "unreadable::an_ek_certificate_that_is_no_text_costs_its_node_alone",
        async |lab| {
            a_certificate_is_damaged(
                lab,
                "UPDATE ek_certificates SET certificate = CAST(x'ff' AS TEXT) WHERE ek = ?1",
            )
            .await;
        },
    );
}

/// Nobody knows whether an operator had put it out: it is out until an operator says otherwise, and it alone.
#[test]
fn a_node_whose_row_does_not_read_back_is_out_until_an_operator_says_otherwise() {
    isolated(
        "unreadable::a_node_whose_row_does_not_read_back_is_out_until_an_operator_says_otherwise",
        async |lab| {
            let running = lab.start().await;
            let good = Machine::new(&lab, &running, "good").await;
            let mut bad = Machine::new(&lab, &running, "bad").await;
            let part = async || status(&lab).await.parts.into_iter().find(|part| part.name == "nodes");
            assert_eq!(part().await, None, "the control");
            lab.stop(running).await;
            damage(
                &lab,
                "UPDATE agents SET agent_version = CAST(x'ff' AS TEXT) WHERE id = ?1",
                bad.id.as_str(),
            );

            let running = lab.start().await;
            let told = part().await.unwrap();
            assert!(told.ok && told.code == "HM-STORE-0039", "{told:?}");
            assert!(told.message.contains(bad.id.as_str()), "{told:?}");
            let shown = nodes_of(&lab, &bad.id).await.remove(0);
            assert_eq!((&*shown.state, &*shown.untrusted_reason), ("banned", "HM-STORE-0039"));
            good.issue(&running).await.unwrap();
            good.ask(&running).await.unwrap();
            bad.issue(&running).await.unwrap_err();
            bad.ask(&running).await.unwrap_err();
            let refused = attest(&wire(&running).await, &bad.machine).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");

            let mut lifecycle = LifecycleClient::new(local(&lab.admin_socket()).await);
            let unban = ChangeNodeRequest {
                id: bad.id.to_string(),
                action: "unban".into(),
                ..ChangeNodeRequest::default()
            };
            lifecycle.change_node(unban).await.unwrap();
            assert_eq!(part().await, None);
            bad.attest_again(&running).await;
            bad.issue(&running).await.unwrap();
            lab.stop(running).await;
            let running = lab.start().await;
            bad.issue(&running).await.expect("across a restart");
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_mark_that_is_removed_under_the_server_is_told_while_it_runs() {
    isolated(
        "unreadable::a_mark_that_is_removed_under_the_server_is_told_while_it_runs",
        async |lab| {
            let running = lab.start().await;
            let part = async || status(&lab).await.parts.into_iter().find(|part| part.name == "mark");
            assert_eq!(part().await, None, "the control");
            std::fs::remove_file(lab.folder.join("data/server.db.mark")).unwrap();
            // The first look finds it; it is told until the next start.
            for _ in 0..2 {
                status(&lab).await;
                let told = part().await.unwrap();
                assert!(told.ok && told.code == "HM-STORE-0038", "{told:?}");
            }
            lab.stop(running).await;
            let running = lab.start().await;
            assert_eq!(part().await, None);
            lab.stop(running).await;
        },
    );
}
