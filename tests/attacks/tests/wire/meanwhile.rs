//! Attack 66, during a challenge: what operators say of a machine changes between its claim and its proof.

use std::path::Path;

use hallmark_attacks::{open, proof_message};
use hallmark_kit::Lab;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use tonic::Status;

use crate::machines::{csv, two_names};
use crate::scene::{Site, ek, site, site_with};
use crate::withheld::{bare, demand_a_boot_log, evict, import};

/// The machine claims, with its EK certificate or without, and proves itself after `change`.
async fn held(
    site: &mut Site,
    machine: &SoftwareMachine,
    is_bare: bool,
    change: impl AsyncFnOnce(&mut Site),
) -> Result<(), Status> {
    let wire = site.wire().await;
    let claim = if is_bare { bare(machine) } else { machine.claim() };
    let (mut attempt, challenge) = open(&wire, &claim).await.unwrap();
    let proof = proof_message(&machine.prove(&challenge, wire.exporter()));
    change(site).await;
    attempt.prove(&proof).await.map(drop)
}

/// The control: nothing changes, and it is let in.
async fn let_in(site: &mut Site, machine: &SoftwareMachine, is_bare: bool) {
    held(site, machine, is_bare, async |_| {}).await.unwrap();
    let verdicts = site.verdicts().await;
    assert!(
        verdicts.len() == 1 && verdicts[0].outcome == "accepted",
        "the control: {verdicts:?}"
    );
}

#[test]
fn attack_66_a_line_is_removed_or_expires_during_the_challenge() {
    let configure = |lab: &mut Lab, _: &VendorCa, _: &Path| {
        lab.server().set("attestation.tpm2", "require_inventory", true.into());
    };
    site_with(VendorCa::new(), configure, async |site| {
        let expired = |machine: &SoftwareMachine| format!("ek_sha256,expires\n{},2020-01-01T00:00:00Z\n", ek(machine));
        for (is_bare, gone, past) in [
            (true, "HM-VERIFY-0142", "HM-VERIFY-0143"),
            (false, "HM-POLICY-0001", "HM-POLICY-0001"),
        ] {
            for is_new in [true, false] {
                let machine = SoftwareMachine::new(&site.vendor);
                let listed = format!("ek_sha256\n{}\n", ek(&machine));
                import(site, &listed).await;
                if !is_new {
                    let_in(site, &machine, is_bare).await;
                }
                let told = held(site, &machine, is_bare, async |site| site.unlist(&machine).await).await;
                site.refused("its line is gone", &told.unwrap_err(), gone).await;
                import(site, &listed).await;
                let told = held(site, &machine, is_bare, async |site| {
                    import(site, &expired(&machine)).await;
                })
                .await;
                site.refused("its line has expired", &told.unwrap_err(), past).await;
                import(site, &listed).await;
                let_in(site, &machine, is_bare).await;
            }
        }
    });
}

#[test]
fn attack_66_a_label_comes_during_the_challenge() {
    site(async |site| {
        let (machine, other) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        demand_a_boot_log(site, 1, "inventory:site:lab").await;
        let_in(site, &machine, false).await;
        let label = |machine: &SoftwareMachine| format!("ek_sha256,labels\n{},site=lab\n", ek(machine));
        let told = held(site, &machine, false, async |site| import(site, &label(&machine)).await).await;
        site.refused("its label", &told.unwrap_err(), "HM-POLICY-0101").await;
        // By its Name as well.
        let by_name = format!("ek_sha256,labels\n{},site=lab\n", hex::encode(other.ek.public.name()));
        let told = held(site, &other, false, async |site| import(site, &by_name).await).await;
        site.refused("by its Name", &told.unwrap_err(), "HM-POLICY-0101").await;
        // The control: another machine's line changes nothing for this one.
        site.unlist(&machine).await;
        held(site, &machine, false, async |site| {
            let stranger = SoftwareMachine::new(&site.vendor);
            import(site, &label(&stranger)).await;
        })
        .await
        .unwrap();
    });
}

#[test]
fn attack_66_an_ek_is_listed_with_a_denied_one_during_the_challenge() {
    let vendor = VendorCa::new();
    let [denied, other] = two_names(&vendor);
    let list = vec![ek(&denied).into()];
    let configure = |lab: &mut Lab, _: &VendorCa, _: &Path| {
        lab.server()
            .set("attestation.tpm2.deny", "eks", toml::Value::Array(list));
    };
    site_with(vendor, configure, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let_in(site, &other, false).await;
        site.act("evict", &other).await;
        let told = held(site, &other, false, async |site| {
            import(site, &csv(&[&[&denied, &other]])).await;
        })
        .await;
        site.refused("one machine with a denied one", &told.unwrap_err(), "HM-POLICY-0003")
            .await;
        let_in(site, &machine, false).await;
    });
}

/// An operator evicts the node: it begins anew, with a credential that its AK has to activate.
#[test]
fn attack_66_a_node_is_evicted_during_the_challenge() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let_in(site, &machine, false).await;
        let told = held(site, &machine, false, async |site| evict(site, &machine).await).await;
        let told = told.unwrap_err();
        site.refused_as("evicted meanwhile", &told, "HM-SRV-0104", "HM-SRV-0104")
            .await;
        let_in(site, &machine, false).await;
    });
}
