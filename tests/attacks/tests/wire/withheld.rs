//! Attacks 64, 65 and 66: a machine keeps back what would bring rules upon it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use hallmark_api::admin::{ChangeNodeRequest, GetNodeRequest, ImportInventoryRequest};
use hallmark_attacks::attest;
use hallmark_verify::testing::{RevocationDraft, SoftwareMachine, VendorCa};
use tonic::Status;

use crate::policy::apply;
use crate::revocation::{SERIAL, publish, verdict};
use crate::scene::{Site, ek, lay_out, run, site, site_with};

const NO_BOOT_LOG: &str = "HM-POLICY-0101";
const REVOKED: &str = "HM-VERIFY-0128";

fn id(machine: &SoftwareMachine) -> String {
    format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine))
}

/// The machine without its EK certificate, as behind a proxy that hides the NV indexes.
pub(crate) fn bare(machine: &SoftwareMachine) -> hallmark_verify::testing::ClaimParts {
    hallmark_verify::testing::ClaimParts {
        ek_certificate: None,
        ek_chain: Vec::new(),
        ..machine.claim()
    }
}

async fn attest_bare(site: &Site, machine: &SoftwareMachine) -> Result<(), Status> {
    let wire = site.wire().await;
    let attested = hallmark_attacks::attest_with(&wire, machine, &bare(machine), |_| {}).await;
    attested.map(drop)
}

pub(crate) async fn import(site: &mut Site, csv: &str) {
    let message = ImportInventoryRequest {
        format: "csv".into(),
        data: csv.as_bytes().to_vec().into(),
        ..Default::default()
    };
    let stream = tokio_stream::iter([message]);
    site.admin.lifecycle.import_inventory(stream).await.unwrap();
}

pub(crate) async fn evict(site: &mut Site, machine: &SoftwareMachine) {
    let request = ChangeNodeRequest {
        id: id(machine),
        action: "evict".into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(request).await.unwrap();
}

pub(crate) async fn selectors(site: &mut Site, machine: &SoftwareMachine) -> BTreeSet<String> {
    let request = GetNodeRequest { id: id(machine) };
    let node = site.admin.admin.get_node(request).await.unwrap().into_inner();
    node.selectors.into_iter().collect()
}

/// A policy for whom it names, which nobody fulfils who sends no boot log.
pub(crate) async fn demand_a_boot_log(site: &mut Site, serial: u32, of: &str) {
    let policy =
        format!("version = 1\nname = \"edge\"\nserial = {serial}\napplies_to = [\"{of}\"]\n[boot]\nrequired = true\n");
    assert_eq!(apply(site, "policy", &policy).await, "applied");
    site.verdicts().await;
}

const FACTS: [(&str, &str); 4] = [
    ("tpm2:class:discrete", "tpm2:class:virtual"),
    ("tpm2:manufacturer:id:49465800", "tpm2:manufacturer:id:414D4400"),
    ("tpm2:model:SLB9670", "tpm2:model:AMD"),
    ("tpm2:firmware:id:00070055", "tpm2:firmware:id:00070056"),
];

#[test]
fn attack_64_a_certificate_that_is_kept_back_lifts_no_policy() {
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &Path| {
        lab.server().set("attestation.tpm2", "require_inventory", true.into());
    };
    site_with(VendorCa::new(), configure, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let strangers = [SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor)];
        let [silent, stated] = &strangers;
        let csv = format!(
            "ek_sha256,class,manufacturer,model\n{},discrete,id:49465800,SLB9670\n{},,,\n{},discrete,id:49465800,SLB9670\n",
            ek(&machine),
            ek(silent),
            ek(stated),
        );
        import(site, &csv).await;
        attest(&site.wire().await, &machine).await.unwrap();
        let with_certificate = selectors(site, &machine).await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(selectors(site, &machine).await, with_certificate, "renewed without it");
        site.verdicts().await;
        let mut serial = 0;
        for (own, anothers) in FACTS {
            serial += 2;
            demand_a_boot_log(site, serial, anothers).await;
            attest(&site.wire().await, &machine).await.unwrap();
            attest_bare(site, &machine).await.unwrap();
            let both = site.verdicts().await;
            assert!(
                both.len() == 2 && both.iter().all(|it| it.outcome == "accepted"),
                "{anothers}"
            );
            let told = attest_bare(site, silent).await.unwrap_err();
            site.refused("nobody knows what it is", &told, NO_BOOT_LOG).await;

            demand_a_boot_log(site, serial + 1, own).await;
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            // The certificate is kept back; or broken; or its intermediates are.
            let told = attest_bare(site, &machine).await.unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            let mut claim = machine.claim();
            claim.ek_certificate.as_mut().unwrap().truncate(100);
            let wire = site.wire().await;
            let told = hallmark_attacks::attest_with(&wire, &machine, &claim, |_| {})
                .await
                .unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            let mut claim = machine.claim();
            claim.ek_chain.clear();
            let told = hallmark_attacks::attest_with(&wire, &machine, &claim, |_| {})
                .await
                .unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            for stranger in &strangers {
                let told = attest_bare(site, stranger).await.unwrap_err();
                site.refused(own, &told, NO_BOOT_LOG).await;
            }
        }
        // What the inventory states of a TPM that never showed a certificate is known.
        demand_a_boot_log(site, 100, "tpm2:class:virtual").await;
        attest_bare(site, stated).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted");
        assert!(
            !selectors(site, stated)
                .await
                .iter()
                .any(|it| it.starts_with("tpm2:class:"))
        );
    });
}

/// Its row is deleted: the certificate is not.
#[test]
fn attack_64_who_was_evicted_comes_back_without_its_certificate() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("it is not known yet", &told, "HM-VERIFY-0142").await;
        attest(&site.wire().await, &machine).await.unwrap();
        evict(site, &machine).await;
        demand_a_boot_log(site, 1, "tpm2:model:SLB9670").await;
        import(
            site,
            &format!("ek_sha256,class,manufacturer,model\n{},virtual,id:1,m\n", ek(&machine)),
        )
        .await;
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("evicted", &told, NO_BOOT_LOG).await;
        demand_a_boot_log(site, 2, "tpm2:model:other").await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted");
    });
}

/// What an operator saw before the approval is what counts after it.
#[test]
fn attack_64_the_certificate_of_a_machine_that_waits_counts() {
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &Path| {
        lab.server().set("attestation.tpm2", "approval", "one".into());
    };
    site_with(VendorCa::new(), configure, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        import(site, &format!("ek_sha256,class\n{},virtual\n", ek(&machine))).await;
        attest(&site.wire().await, &machine).await.unwrap_err();
        let request = ChangeNodeRequest {
            id: id(&machine),
            action: "approve".into(),
            ..Default::default()
        };
        site.admin.lifecycle.change_node(request).await.unwrap();
        demand_a_boot_log(site, 1, "tpm2:class:discrete").await;
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("approved as discrete", &told, NO_BOOT_LOG).await;
        demand_a_boot_log(site, 2, "tpm2:class:firmware").await;
        attest_bare(site, &machine).await.unwrap();
    });
}

#[test]
fn attack_65_a_certificate_that_was_kept_back_is_revoked() {
    let vendor = VendorCa::new();
    let [renewed, evicted, never_in] = [(); 3].map(|()| SoftwareMachine::new(&vendor));
    let mut other = SoftwareMachine::new(&vendor);
    other.ek_certificate = None;
    let list = |number: u8, revoked: bool| {
        let draft = RevocationDraft {
            number: vec![number],
            revoked: if revoked { vec![SERIAL.to_vec()] } else { Vec::new() },
            ..RevocationDraft::of_intermediate()
        };
        draft.sign(&vendor.intermediate_key)
    };
    let (clean, revoked) = (list(1, false), list(2, true));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vendor.crl");
    publish(&file, &clean);
    let named = folder.path().display().to_string();
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &Path| {
        let paths = toml::Value::Array(vec![named.into()]);
        lab.server().set("attestation.tpm2", "crls", paths);
    };
    site_with(vendor, configure, async |site| {
        let lines: Vec<_> = [&renewed, &evicted, &never_in, &other].into_iter().map(ek).collect();
        import(site, &format!("ek_sha256\n{}\n", lines.join("\n"))).await;
        for machine in [&renewed, &evicted] {
            attest(&site.wire().await, machine).await.unwrap();
        }
        attest_bare(site, &renewed).await.unwrap();
        attest_bare(site, &other).await.unwrap();
        evict(site, &evicted).await;
        assert!(
            site.verdicts().await.iter().all(|it| it.outcome == "accepted"),
            "positive control"
        );

        publish(&file, &revoked);
        assert_eq!(verdict(site).await, ("refused".into(), "HM-POLICY-0010".into()));
        for machine in [&renewed, &evicted] {
            let told = attest_bare(site, machine).await.unwrap_err();
            site.refused("kept back", &told, REVOKED).await;
        }
        // It showed its certificate once, before it proved anything.
        let told = attest(&site.wire().await, &never_in).await.unwrap_err();
        site.refused("shown once", &told, REVOKED).await;
        let told = attest_bare(site, &never_in).await.unwrap_err();
        site.refused("and then kept back", &told, REVOKED).await;
        attest_bare(site, &other).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted", "who never had one");

        // An older certificate for the same EK does not make up for it; one that the vendor issued since does.
        let vendor = &site.vendor;
        let [older, newer] = [1_500_000_000, 1_700_000_000].map(|not_before| {
            vendor.ek_certificate_with(&renewed.ek, |draft| {
                draft.serial = vec![0x77];
                draft.not_before = not_before;
            })
        });
        let mut renewed = renewed;
        renewed.ek_certificate = Some(older);
        let told = attest(&site.wire().await, &renewed).await.unwrap_err();
        site.refused("an older one", &told, REVOKED).await;
        renewed.ek_certificate = Some(newer);
        let told = attest(&site.wire().await, &renewed).await.unwrap_err();
        site.refused("the lists are held against it first", &told, "HM-POLICY-0010")
            .await;
        assert_eq!(verdict(site).await, ("accepted".into(), String::new()));
        attest(&site.wire().await, &renewed).await.unwrap();
        attest_bare(site, &renewed).await.unwrap();
    });
}

/// A node that the inventory alone vouches for loses trust when its revoked certificate comes to light.
#[test]
fn attack_65_a_revoked_certificate_that_comes_to_light() {
    let vendor = VendorCa::new();
    let machine = SoftwareMachine::new(&vendor);
    let revoked = RevocationDraft {
        revoked: vec![SERIAL.to_vec()],
        ..RevocationDraft::of_intermediate()
    };
    let list = revoked.sign(&vendor.intermediate_key);
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, folder: &Path| {
        let file = folder.join("vendor.crl");
        fs::write(&file, &list).unwrap();
        let paths = toml::Value::Array(vec![file.display().to_string().into()]);
        lab.server().set("attestation.tpm2", "crls", paths);
    };
    site_with(vendor, configure, async |site| {
        import(site, &format!("ek_sha256\n{}\n", ek(&machine))).await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted", "positive control");
        attest(&site.wire().await, &machine).await.unwrap_err();
        assert_eq!(verdict(site).await, ("refused".into(), REVOKED.into()));
        assert_eq!(verdict(site).await, ("refused".into(), "HM-POLICY-0010".into()));
    });
}

#[test]
fn attack_66_an_expired_line_selects_policies_and_grants_nothing() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let csv = |expires: &str| {
            format!(
                "ek_sha256,labels,owner,expires\n{},site=lab,ops,{expires}\n",
                ek(&machine)
            )
        };
        let granted = ["inventory:site:lab", "inventory:owner:ops", "policy:of-the-lab"];
        let fulfilled = "version = 1\nname = \"of-the-lab\"\nserial = 1\napplies_to = [\"inventory:site:lab\"]\n\
                         [tpm]\nclasses = [\"discrete\"]\n";
        assert_eq!(apply(site, "policy", fulfilled).await, "applied");
        let mut serial = 0;
        for expires in ["", "2020-01-01T00:00:00Z"] {
            import(site, &csv(expires)).await;
            for of in ["inventory:site:lab", "inventory:owner:ops"] {
                demand_a_boot_log(site, serial + 1, of).await;
                let told = attest(&site.wire().await, &machine).await.unwrap_err();
                site.refused(of, &told, NO_BOOT_LOG).await;
                demand_a_boot_log(site, serial + 2, "inventory:site:elsewhere").await;
                attest(&site.wire().await, &machine).await.unwrap();
                assert_eq!(site.verdicts().await[0].outcome, "accepted", "{of} {expires}");
                serial += 2;
            }
            let has = selectors(site, &machine).await;
            for selector in granted {
                assert_eq!(
                    has.contains(selector),
                    expires.is_empty(),
                    "{selector}, expired: {expires:?}"
                );
            }
        }
        // Nor does it let anybody in.
        let stranger = SoftwareMachine::new(&site.vendor);
        import(
            site,
            &format!("ek_sha256,expires\n{},2020-01-01T00:00:00Z\n", ek(&stranger)),
        )
        .await;
        let told = attest_bare(site, &stranger).await.unwrap_err();
        site.refused("an expired line", &told, "HM-VERIFY-0143").await;
    });
}

/// A line that names the EK by its Name finds it, whatever policy or attributes the machine says the key has.
#[test]
fn attack_66_a_name_that_the_machine_chooses_hides_no_line() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let name = hex::encode(machine.ek.public.name());
        import(site, &format!("ek_sha256,labels\n{name},site=lab\n")).await;
        demand_a_boot_log(site, 1, "inventory:site:lab").await;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("by its Name", &told, NO_BOOT_LOG).await;
        // The same key with another policy has another Name, and is of no template that counts.
        let policy = std::mem::replace(&mut machine.ek.public.auth_policy, vec![0x11; 32]);
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("under another Name", &told, "HM-VERIFY-0145").await;
        // The positive control: the same machine, and a rule for others.
        machine.ek.public.auth_policy = policy;
        demand_a_boot_log(site, 2, "inventory:site:elsewhere").await;
        attest(&site.wire().await, &machine).await.unwrap();
    });
}

/// The machine's evidence, saved and judged without the server: exit code and report.
fn judged_offline(socket: &Path, machine: &SoftwareMachine) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.evidence").display().to_string();
    let hallmark = |arguments: &[&str]| {
        let mut command = Command::new(hallmark_kit::binary("hallmark").unwrap());
        command.env("HALLMARK_ADMIN_SOCKET", socket).args(arguments);
        command.output().unwrap()
    };
    let saved = hallmark(&["evidence", "save", &id(machine), "-o", &file]);
    assert!(saved.status.success(), "{saved:?}");
    let done = hallmark(&["evidence", "verify", &file, "-o", "json"]);
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A saved file has the certificate that the server judged by, and leads to the server's verdict: where it was kept back,
/// where it had expired, and where the inventory vouched in its place.
#[test]
fn what_was_judged_by_a_kept_certificate_is_judged_so_offline() {
    let folder = tempfile::tempdir().unwrap();
    let vendor = VendorCa::new();
    let mut lab = lay_out(folder.path(), &vendor);
    let socket = lab.server().admin_socket();
    let expired = |vendor: &VendorCa| {
        let mut machine = SoftwareMachine::new(vendor);
        let certificate = vendor.ek_certificate_with(&machine.ek, |draft| draft.not_after = 1_700_000_000);
        machine.ek_certificate = Some(certificate);
        machine
    };
    let (good, listed, tolerated) = (SoftwareMachine::new(&vendor), expired(&vendor), expired(&vendor));
    for (policy, machine, held) in [
        ("enforce", &good, "\"holds\":true"),
        ("enforce", &listed, "\"holds\":null"),
        ("ignore", &tolerated, "\"holds\":true"),
    ] {
        let server = lab.server();
        server.set("attestation.tpm2", "expired_ek_certificates", policy.into());
        server.start().unwrap();
        let vendor_of_site = VendorCa::new();
        run(&mut lab, vendor_of_site, async |site| {
            import(site, &format!("ek_sha256\n{}\n", ek(&listed))).await;
            demand_a_boot_log(site, if policy == "ignore" { 2 } else { 1 }, "tpm2:class:virtual").await;
            for _ in 0..2 {
                attest(&site.wire().await, machine).await.unwrap();
                attest_bare(site, machine).await.unwrap();
            }
            let (code, report) = judged_offline(&socket, machine);
            assert_eq!(code, Some(0), "{policy}: {report}");
            let report = report.split_whitespace().collect::<String>();
            let check = report.split("{\"name\":\"ek-certificate\"").nth(1).unwrap();
            let check = check.split('}').next().unwrap();
            assert!(check.contains(held), "{policy}: {check}");
        });
        lab.server().stop();
    }
}
