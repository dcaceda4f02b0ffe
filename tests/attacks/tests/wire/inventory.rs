//! Attack 12: the inventory of EK hashes.

use crate::scene::{Attack, site_with};
use hallmark_attacks::attest;
use hallmark_verify::ek_sha256;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use std::fs;
use std::process::Command;

fn spki_hash(machine: &SoftwareMachine) -> String {
    let hash = ek_sha256(&machine.claim().decode().unwrap()).unwrap();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A machine whose TPM holds no certificate: the inventory alone speaks for it.
fn without_certificate(vendor: &VendorCa) -> SoftwareMachine {
    SoftwareMachine {
        ek_certificate: None,
        ..SoftwareMachine::new(vendor)
    }
}

#[test]
fn attack_12_the_inventory_takes_the_exact_key_only() {
    let vendor = VendorCa::new();
    let (listed, expired, near) = (
        without_certificate(&vendor),
        without_certificate(&vendor),
        without_certificate(&vendor),
    );
    let mut off_by_one = spki_hash(&near).into_bytes();
    let last = off_by_one.last_mut().unwrap();
    *last = if *last == b'0' { b'1' } else { b'0' };
    let name: String = near.ek.public.name()[2..].iter().map(|b| format!("{b:02x}")).collect();
    let csv = format!(
        "ek_sha256,owner,expires\n{},ops,\n{},ops,2020-01-01T00:00:00Z\n{},ops,\n{name},ops,\n",
        // Case counts for nothing: many tools print fingerprints in upper case.
        spki_hash(&listed).to_uppercase(),
        spki_hash(&expired),
        String::from_utf8(off_by_one).unwrap(),
    );
    site_with(
        vendor,
        |lab, _, folder| {
            let file = folder.join("ek.csv");
            fs::write(&file, csv).unwrap();
            lab.server()
                .set("attestation.tpm2", "ek_inventory", file.display().to_string().into());
        },
        async |site| {
            let wire = site.wire().await;
            attest(&wire, &listed).await.unwrap();
            assert_eq!(site.verdicts().await[0].outcome, "accepted");
            let told = attest(&wire, &expired).await.unwrap_err();
            site.refused("expired line", &told, "HM-VERIFY-0143").await;
            // Its hash is listed with one digit off, and its Name as if that were the hash of its SPKI.
            let told = attest(&wire, &near).await.unwrap_err();
            site.refused("one digit off", &told, "HM-VERIFY-0142").await;
            // A listed machine's hash does not speak for a certificate of another key.
            let other = listed.ek.public.marshal();
            site.refuses(vec![
                Attack::new("listed EK, another's certificate", "HM-VERIFY-0141")
                    .claim(move |claim, _| claim.ek_public.clone_from(&other)),
            ])
            .await;
        },
    );
}

/// Who is in no inventory is refused where one is required, whatever its certificate.
#[test]
fn attack_12_a_required_inventory() {
    let vendor = VendorCa::new();
    let listed = SoftwareMachine::new(&vendor);
    let csv = format!("ek_sha256,owner,expires\n{},ops,\n", spki_hash(&listed));
    site_with(
        vendor,
        |lab, _, folder| {
            let file = folder.join("ek.csv");
            fs::write(&file, csv).unwrap();
            let server = lab.server();
            server.set("attestation.tpm2", "ek_inventory", file.display().to_string().into());
            server.set("attestation.tpm2", "require_inventory", true.into());
        },
        async |site| {
            let wire = site.wire().await;
            let stranger = SoftwareMachine::new(&site.vendor);
            let told = attest(&wire, &stranger).await.unwrap_err();
            site.refused("not listed", &told, "HM-POLICY-0001").await;
            attest(&wire, &listed).await.unwrap();
        },
    );
}

#[test]
fn attack_12_an_inventory_with_a_bad_line_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = crate::scene::lay_out(folder.path(), &VendorCa::new());
    let file = folder.path().join("ek.csv");
    lab.server()
        .set("attestation.tpm2", "ek_inventory", file.display().to_string().into());
    let good = "ab".repeat(32);
    fs::write(&file, format!("ek_sha256,owner,expires\n{good},ops,\n")).unwrap();
    lab.server().start().unwrap();
    lab.server().stop();
    for line in [
        "ab".repeat(31),
        "ab".repeat(33),
        format!("../{}", "ab".repeat(30)),
        format!("sha256:{good}"),
        format!("{}*", &good[..63]),
        // The same key again: case makes no other key.
        good.to_uppercase(),
    ] {
        fs::write(&file, format!("ek_sha256,owner,expires\n{good},ops,\n{line},ops,\n")).unwrap();
        let out = Command::new(hallmark_kit::binary("hallmark-server").unwrap())
            .args(["config", "check", "--config"])
            .arg(lab.server().config_file())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(
            !out.status.success() && told.contains("HM-REG-007") && told.contains("line 3"),
            "{line}: {told}"
        );
    }
}
