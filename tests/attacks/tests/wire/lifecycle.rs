//! Attack 53: ways back in for a machine that operators have not let in, or have put out. That one operator is not two
//! is tried where there are two: in the server's own tests, and end to end.

use crate::scene::{Site, ek, site_with};
use hallmark_api::admin::{ChangeNodeRequest, ImportInventoryRequest};
use hallmark_attacks::{attest, open, proof_message};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use tonic::{Code, Status};

async fn operator(site: &mut Site, action: &str, machine: &SoftwareMachine) -> Result<(), Status> {
    let request = ChangeNodeRequest {
        id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine)),
        action: action.into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(request).await.map(drop)
}

/// It is refused with this code alone, on record and on the wire.
async fn out(site: &mut Site, what: &str, machine: &SoftwareMachine, code: &str) {
    let told = attest(&site.wire().await, machine).await.unwrap_err();
    is_out(site, what, &told, code).await;
}

async fn is_out(site: &mut Site, what: &str, told: &Status, code: &str) {
    let verdicts = site.verdicts().await;
    let seen: Vec<_> = verdicts.iter().map(|v| (v.outcome.as_str(), v.code.as_str())).collect();
    assert_eq!(seen, [("refused", code)], "{what}: {told}");
    assert_eq!(told.code(), Code::PermissionDenied, "{what}: {told}");
    assert!(told.message().ends_with(&format!("({code})")), "{what}: {told}");
}

async fn is_in(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

fn with_approval(approval: &str, body: impl AsyncFnOnce(&mut Site)) {
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &std::path::Path| {
        lab.server().set("attestation.tpm2", "approval", approval.into());
    };
    site_with(VendorCa::new(), configure, body);
}

#[test]
fn attack_53_no_identity_before_the_approval() {
    with_approval("one", async |site| {
        let (machine, other) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        out(site, "not approved", &machine, "HM-SRV-0301").await;
        out(site, "not approved", &other, "HM-SRV-0301").await;
        operator(site, "approve", &other).await.unwrap();
        out(site, "another one is approved", &machine, "HM-SRV-0301").await;
        // Whoever deletes it, or bans it and thinks better of it, has not approved it.
        operator(site, "approve", &machine).await.unwrap();
        operator(site, "evict", &machine).await.unwrap();
        out(site, "deleted and back", &machine, "HM-SRV-0301").await;
        operator(site, "approve", &machine).await.unwrap();
        operator(site, "ban", &machine).await.unwrap();
        out(site, "approved and banned", &machine, "HM-SRV-0109").await;
        operator(site, "unban", &machine).await.unwrap();
        out(site, "unbanned", &machine, "HM-SRV-0301").await;
        // The controls.
        is_in(site, "the other one", &other).await;
        operator(site, "approve", &machine).await.unwrap();
        is_in(site, "approved", &machine).await;
        is_in(site, "renewed", &machine).await;
    });
}

#[test]
fn attack_53_put_out_while_attesting_and_after() {
    with_approval("none", async |site| {
        for (action, code) in [
            ("suspend", "HM-SRV-0302"),
            ("ban", "HM-SRV-0109"),
            ("retire", "HM-SRV-0303"),
        ] {
            let machine = SoftwareMachine::new(&site.vendor);
            is_in(site, action, &machine).await;
            let wire = site.wire().await;
            let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
            let proof = proof_message(&machine.prove(&challenge, wire.exporter()));
            operator(site, action, &machine).await.unwrap();
            let told = attempt.prove(&proof).await.unwrap_err();
            is_out(site, "under way", &told, code).await;
            out(site, "again", &machine, code).await;
            site.control(&wire, action).await;
        }
    });
}

#[test]
fn attack_53_a_retired_machine_enrols_again() {
    with_approval("none", async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        is_in(site, "at first", &machine).await;
        operator(site, "retire", &machine).await.unwrap();
        for action in ["evict", "unban", "resume", "approve"] {
            let told = operator(site, action, &machine).await.unwrap_err();
            assert!(told.message().starts_with("HM-REG-0060"), "{action}: {told}");
            out(site, action, &machine, "HM-SRV-0303").await;
        }
        let message = |readmit: bool| ImportInventoryRequest {
            format: "csv".into(),
            readmit,
            data: format!("ek_sha256\n{}\n", ek(&machine)).into_bytes().into(),
            ..Default::default()
        };
        let stream = tokio_stream::iter([message(false)]);
        site.admin.lifecycle.import_inventory(stream).await.unwrap();
        out(site, "listed", &machine, "HM-SRV-0303").await;
        let stream = tokio_stream::iter([message(true)]);
        site.admin.lifecycle.import_inventory(stream).await.unwrap();
        is_in(site, "named anew", &machine).await;
    });
}
