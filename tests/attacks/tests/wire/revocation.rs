//! Attacks 11 and 17: TPMs that their vendors no longer stand for, and keys that anybody can compute.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hallmark_attacks::attest;
use hallmark_verify::ek_sha256;
use hallmark_verify::testing::{RevocationDraft, SoftwareEk, SoftwareMachine, VendorCa};

use crate::scene::{Attack, Site, site, site_with};

/// The serial number of every certificate that the vendor makes.
pub(crate) const SERIAL: [u8; 3] = [0x01, 0x23, 0x45];

/// Puts a list there as a careful download does: whole, or not at all.
pub(crate) fn publish(file: &Path, list: &[u8]) {
    let part = file.with_extension("part");
    fs::write(&part, list).unwrap();
    fs::rename(part, file).unwrap();
}

/// Waits for the next verdict that the server comes to by itself.
pub(crate) async fn verdict(site: &mut Site) -> (String, String) {
    let start = Instant::now();
    loop {
        if let Some(verdict) = site.next_verdict().await {
            return (verdict.outcome, verdict.code);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no verdict came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn attack_11_a_revoked_tpm_loses_what_it_has_and_gets_no_more() {
    let vendor = VendorCa::new();
    let list = |number: u8, revoked: bool| {
        let draft = RevocationDraft {
            number: vec![number],
            revoked: if revoked { vec![SERIAL.to_vec()] } else { Vec::new() },
            ..RevocationDraft::of_intermediate()
        };
        draft.sign(&vendor.intermediate_key)
    };
    let (clean, revoked, older, lifted) = (list(1, false), list(2, true), list(1, false), list(3, false));
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("vendor.crl");
    publish(&file, &clean);
    let named = folder.path().display().to_string();
    site_with(
        vendor,
        |lab, _, _| {
            let paths = toml::Value::Array(vec![named.into()]);
            lab.server().set("attestation.tpm2", "crls", paths);
        },
        async |site| {
            let wire = site.wire().await;
            let machine = SoftwareMachine::new(&site.vendor);
            attest(&wire, &machine).await.unwrap();
            assert_eq!(site.verdicts().await[0].outcome, "accepted", "positive control");

            // Nobody asks the machine: what it proved is held against the new list.
            publish(&file, &revoked);
            assert_eq!(verdict(site).await, ("refused".into(), "HM-POLICY-0010".into()));
            let told = attest(&wire, &machine).await.unwrap_err();
            site.refused("a revoked TPM", &told, "HM-VERIFY-0128").await;
            let stranger = SoftwareMachine::new(&site.vendor);
            let told = attest(&wire, &stranger).await.unwrap_err();
            site.refused("another with that serial number", &told, "HM-VERIFY-0128")
                .await;

            // The old list again, and something that is none: the newer one stays.
            for (offered, words) in [
                (older.as_slice(), "an older revocation list was offered"),
                (
                    b"<html>Service unavailable</html>",
                    "the revocation lists were not taken",
                ),
            ] {
                let before = site.said(words);
                publish(&file, offered);
                site.says(words, before).await;
                let told = attest(&wire, &machine).await.unwrap_err();
                site.refused("after a rollback", &told, "HM-VERIFY-0128").await;
            }

            // The vendor takes it back.
            publish(&file, &lifted);
            assert_eq!(verdict(site).await, ("accepted".into(), String::new()));
            site.control(&wire, "after the list was lifted").await;
        },
    );
}

/// The inventory lists the machine, which after its revocation shows no certificate any more.
#[test]
fn attack_11_a_revoked_tpm_does_not_come_back_without_its_certificate() {
    let vendor = VendorCa::new();
    let machine = SoftwareMachine::new(&vendor);
    let other = SoftwareMachine {
        ek_certificate: None,
        ..SoftwareMachine::new(&vendor)
    };
    let list = |number: u8| {
        let draft = RevocationDraft {
            number: vec![number],
            revoked: vec![SERIAL.to_vec()],
            ..RevocationDraft::of_intermediate()
        };
        draft.sign(&vendor.intermediate_key)
    };
    let (first, second) = (list(1), list(2));
    let folder = tempfile::tempdir().unwrap();
    let (lists, inventory) = (folder.path().join("lists"), folder.path().join("ek.csv"));
    fs::create_dir(&lists).unwrap();
    let line = |machine: &SoftwareMachine| {
        let ek = ek_sha256(&machine.claim().decode().unwrap()).unwrap();
        format!("{},ops,\n", hex::encode(ek))
    };
    let csv = format!("ek_sha256,owner,expires\n{}{}", line(&machine), line(&other));
    fs::write(&inventory, csv).unwrap();
    let (named, listed) = (lists.display().to_string(), inventory.display().to_string());
    site_with(
        vendor,
        |lab, _, _| {
            let server = lab.server();
            server.set("attestation.tpm2", "crls", toml::Value::Array(vec![named.into()]));
            server.set("attestation.tpm2", "ek_inventory", listed.into());
        },
        async |site| {
            let wire = site.wire().await;
            attest(&wire, &machine).await.unwrap();
            assert_eq!(verdict(site).await.0, "accepted", "positive control");
            publish(&lists.join("vendor.crl"), &first);
            assert_eq!(verdict(site).await.1, "HM-POLICY-0010");
            let mut bare = machine;
            bare.ek_certificate = None;
            let told = attest(&wire, &bare).await.unwrap_err();
            site.refused("without its certificate", &told, "HM-VERIFY-0128").await;
            // A list is read anew.
            let before = site.said("revocation lists read");
            publish(&lists.join("vendor.crl"), &second);
            site.says("revocation lists read", before).await;
            let told = attest(&wire, &bare).await.unwrap_err();
            site.refused("after the next list", &told, "HM-VERIFY-0128").await;
            attest(&wire, &other).await.unwrap();
            assert_eq!(
                verdict(site).await.0,
                "accepted",
                "who was not revoked may come without one"
            );
        },
    );
}

#[test]
fn attack_11_where_lists_are_required_silence_is_no_answer() {
    let vendor = VendorCa::new();
    let folder = tempfile::tempdir().unwrap();
    let of_intermediate = RevocationDraft::of_intermediate().sign(&vendor.intermediate_key);
    let of_root = RevocationDraft::of_root().sign(&vendor.root_key);
    publish(&folder.path().join("intermediate.crl"), &of_intermediate);
    let named = folder.path().display().to_string();
    site_with(
        vendor,
        |lab, _, _| {
            let server = lab.server();
            server.set("attestation.tpm2", "crls", toml::Value::Array(vec![named.into()]));
            server.set("attestation.tpm2", "revocation", "required".into());
            // The list in this test ends on a fixed day.
            server.set("attestation.tpm2", "crl_grace", "36500d".into());
        },
        async |site| {
            let wire = site.wire().await;
            let machine = SoftwareMachine::new(&site.vendor);
            let told = attest(&wire, &machine).await.unwrap_err();
            site.refused("no list of the root", &told, "HM-VERIFY-0129").await;
            publish(&folder.path().join("root.crl"), &of_root);
            let start = Instant::now();
            while attest(&wire, &machine).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(60), "positive control");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        },
    );
}

#[test]
fn attack_17_an_endorsement_key_of_the_faulty_library() {
    site(async |site| {
        let hex: String = include_str!("../../../vectors/roca.hex").split_whitespace().collect();
        let modulus: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        assert!(hallmark_tpm_wire::is_roca(&modulus));
        let mut area = SoftwareEk::rsa().public.marshal();
        let at = area.len() - modulus.len();
        area.splice(at.., modulus);
        let attack = Attack::new("17: ROCA", "HM-TPMW-0021");
        site.refuses(vec![attack.claim(move |claim, _| claim.ek_public.clone_from(&area))])
            .await;
    });
}
