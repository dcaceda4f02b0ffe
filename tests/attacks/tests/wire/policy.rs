//! Attacks 47 and 52: clean at first and dirty later, and policies that come at the wrong moment or from the wrong hand.

use crate::scene::{Site, site, site_with};
use hallmark_api::admin::{ApplyPolicyFileRequest, ListRecordsRequest, WithdrawPolicyFileRequest};
use hallmark_attacks::{attest, open, proof_message};
use hallmark_policy::signed::{FileKind, OperatorKey, OperatorKeys, SignedFile};
use hallmark_spiffe::TrustDomain;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJuoCZrnrtSd6+dgE\nQUITG8uizr5FnPF6n3sYUkuSuVahRANCAAS9tHiAIphZs4U5zYTiH9gQaJ5Giwvw\nb+vMUsGU7iMGAXySR3FpBWO8ywW8gvSi9jDxeHHxe2HLupYXSd8ymcmA\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvbR4gCKYWbOFOc2E4h/YEGieRosL\n8G/rzFLBlO4jBgF8kkdxaQVjvMsFvIL0ovYw8Xhx8Xthy7qWF0nfMpnJgA==\n-----END PUBLIC KEY-----\n";
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBQPjLJgBJycADNBx\n+Q9+YzkH2Hpp8Fe/dzGJvkzJE9+hRANCAARqWf8ccoACMlmnntfGETqmF8xMwQAv\nu41nWceXO4cWnuBnYtDH4iNVfaJhcfDzUgr0vbMTBxevl3WUIlCRMcZS\n-----END PRIVATE KEY-----\n";

fn here() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn policy(serial: u32, rules: &str) -> String {
    format!("version = 1\nname = \"edge\"\nserial = {serial}\n{rules}\n")
}

/// Applies it; "applied", or the code of the refusal.
pub(crate) async fn apply(site: &mut Site, kind: &str, content: &str) -> String {
    let request = ApplyPolicyFileRequest {
        kind: kind.into(),
        content: content.as_bytes().to_vec().into(),
        dry_run: false,
        replace_signer: false,
    };
    match site.admin.admin.apply_policy_file(request).await {
        Ok(_) => "applied".into(),
        Err(told) => told.message().split(':').next().unwrap_or_default().to_owned(),
    }
}

pub(crate) async fn withdraw(site: &mut Site) -> String {
    let request = WithdrawPolicyFileRequest {
        kind: "policy".into(),
        name: "edge".into(),
        dry_run: false,
    };
    match site.admin.admin.withdraw_policy_file(request).await {
        Ok(_) => "withdrawn".into(),
        Err(told) => told.message().split(':').next().unwrap_or_default().to_owned(),
    }
}

async fn accepted(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

/// The rule that PCR 4 holds what it holds in this machine.
fn rules_of(machine: &SoftwareMachine) -> String {
    let value: String = machine.pcrs[&(0x000b, 4)]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("[boot]\nrequired = false\n[boot.pcrs]\n4 = [\"{value}\"]")
}

#[test]
fn attack_47_enrolled_clean_and_rebooted_dirty() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let clean = machine.pcrs.clone();
        assert_eq!(apply(site, "policy", &policy(1, &rules_of(&machine))).await, "applied");
        accepted(site, "clean", &machine).await;
        accepted(site, "and again", &machine).await;
        machine.reset_count += 1;
        machine.pcrs.insert((0x000b, 4), vec![0x66; 32]);
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("dirty", &told, "HM-POLICY-0125").await;
        // It says that it is still the clean boot, whose registers it had.
        let wire = site.wire().await;
        let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
        let proof = machine.prove_with(&challenge, wire.exporter(), |draft| {
            draft.pcr_values[4].2.clone_from(&clean[&(0x000b, 4)]);
        });
        let told = attempt.prove(&proof_message(&proof)).await.unwrap_err();
        site.refused("dirty with clean values", &told, "HM-VERIFY-0513").await;
        machine.reset_count -= 1;
        machine.pcrs.clone_from(&clean);
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused_as("the boot before", &told, "HM-VERIFY-0801", "HM-SRV-0102")
            .await;
        machine.reset_count += 2;
        accepted(site, "clean again", &machine).await;
    });
}

#[test]
fn attack_52_a_policy_that_comes_during_an_attestation() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        accepted(site, "before", &machine).await;
        let wire = site.wire().await;
        let (mut attempt, challenge) = open(&wire, &machine.claim()).await.unwrap();
        let proof = proof_message(&machine.prove(&challenge, wire.exporter()));
        assert_eq!(
            apply(site, "policy", &policy(1, "[boot]\nsecure_boot = true")).await,
            "applied"
        );
        // The policy took trust from what was proven before; that is a verdict as well.
        let swept = site.verdicts().await;
        assert_eq!(swept.len(), 1, "{swept:?}");
        assert_eq!(swept[0].code, "HM-POLICY-0101");
        let told = attempt.prove(&proof).await.unwrap_err();
        site.refused("judged by the new rules", &told, "HM-POLICY-0101").await;
        assert_eq!(withdraw(site).await, "withdrawn");
        site.verdicts().await;
        accepted(site, "the control", &machine).await;
        let request = ListRecordsRequest {
            kind: "admin".into(),
            ..Default::default()
        };
        let acts = site
            .admin
            .admin
            .list_records(request)
            .await
            .unwrap()
            .into_inner()
            .records;
        let ours = acts.iter().filter(|record| record.subject == "policy:edge").count();
        assert_eq!(ours, 2, "{acts:?}");
    });
}

/// A server that takes what the operator's key signed, and nothing else.
fn with_operator(lab: &mut hallmark_kit::Lab, _: &VendorCa, folder: &std::path::Path) {
    let path = folder.join("operator.pem");
    std::fs::write(&path, PUBLIC).unwrap();
    let keys = vec![path.display().to_string().into()];
    lab.server().set("policy", "operator_keys", toml::Value::Array(keys));
}

#[test]
fn attack_75_a_signed_policy_of_another_trust_domain() {
    site_with(VendorCa::new(), with_operator, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        accepted(site, "before", &machine).await;
        let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
        let seal = |trust_domain: &TrustDomain| {
            let strict = policy(7, "[boot]\nsecure_boot = true").into_bytes();
            let sealed = SignedFile::seal(FileKind::Policy, trust_domain, strict, &key);
            sealed.unwrap().to_json()
        };
        let foreign = seal(&TrustDomain::parse("staging.example.org").unwrap());
        let relabelled = foreign.replace("staging.example.org", "example.org");
        let before: serde_json::Value = serde_json::from_str(&seal(&here())).unwrap();
        let mut before = before.as_object().unwrap().clone();
        before.remove("trust_domain");
        before["hallmark_signed_file"] = 1.into();
        let before = serde_json::Value::Object(before).to_string();
        for (what, content, code) in [
            ("another trust domain's", &foreign, "HM-POLICY-0432"),
            ("relabelled", &relabelled, "HM-POLICY-0426"),
            ("one that names none", &before, "HM-POLICY-0431"),
        ] {
            assert_eq!(apply(site, "policy", content).await, code, "{what}");
            accepted(site, what, &machine).await;
        }
        assert_eq!(apply(site, "policy", &seal(&here())).await, "applied", "the control");
        site.verdicts().await;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("our own policy", &told, "HM-POLICY-0101").await;
    });
}

#[test]
fn attack_52_a_policy_that_no_operator_signed_or_an_old_one() {
    site_with(VendorCa::new(), with_operator, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let seal = |key: &str, kind, serial, rules: &str| {
            let key = OperatorKey::from_pem(key.as_bytes()).unwrap();
            SignedFile::seal(kind, &here(), policy(serial, rules).into_bytes(), &key)
                .unwrap()
                .to_json()
        };
        let loose = "[tpm]\nclasses = [\"discrete\", \"firmware\", \"virtual\", \"simulator\", \"unknown\"]";
        let strict = "[boot]\nsecure_boot = true";
        let good = seal(KEY, FileKind::Policy, 7, strict);
        for (what, content, code) in [
            ("unsigned", policy(7, loose), "HM-SRV-0321"),
            ("another key", seal(OTHER, FileKind::Policy, 7, loose), "HM-POLICY-0425"),
            (
                "another kind",
                seal(KEY, FileKind::Baseline, 7, loose),
                "HM-POLICY-0424",
            ),
            (
                "changed",
                seal(KEY, FileKind::Policy, 7, loose).replacen("\"payload\": \"", "\"payload\": \"AAAA", 1),
                "HM-POLICY-0426",
            ),
        ] {
            assert_eq!(apply(site, "policy", &content).await, code, "{what}");
            accepted(site, what, &machine).await;
        }
        assert_eq!(apply(site, "policy", &good).await, "applied");
        site.verdicts().await;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("the operator's policy", &told, "HM-POLICY-0101").await;
        // An older one, and the same one; and without a signature it is not taken back either.
        for serial in [1, 6, 7] {
            let old = seal(KEY, FileKind::Policy, serial, loose);
            assert_eq!(apply(site, "policy", &old).await, "HM-POLICY-0427", "{serial}");
        }
        assert_eq!(
            apply(site, "policy", &good).await,
            "applied",
            "what is in force is in force"
        );
        assert_eq!(withdraw(site).await, "HM-SRV-0322");
        site.verdicts().await;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("still the operator's policy", &told, "HM-POLICY-0101")
            .await;
        for (serial, rules, what) in [
            (8, loose, "the newer one"),
            (
                9,
                "[mode]\ndry_run = true\n[boot]\nsecure_boot = true",
                "one that only reports",
            ),
        ] {
            let newer = seal(KEY, FileKind::Policy, serial, rules);
            assert_eq!(apply(site, "policy", &newer).await, "applied", "{what}");
            site.verdicts().await;
            accepted(site, what, &machine).await;
        }
    });
}

/// A baseline of this name, signed by the key of an image, as an operator sends it on.
fn baseline_of(key: &str, name: &str, serial: u64) -> String {
    let key = OperatorKey::from_pem(key.as_bytes()).unwrap();
    let mut signers = OperatorKeys::default();
    signers.add_spki(&key.spki()).unwrap();
    let payload = format!(
        r#"{{"version": 1, "name": "{name}", "serial": {serial}, "state": "active", "created_at": 1767225600,
 "origin": {{"predicted": {{"uki_sha256": "00", "firmware_variables_sha256": null, "earlier_images_sha256": []}}}},
 "registers": {{"sha256:4": ["{serial:064x}"]}}, "boots": []}}"#
    );
    let file = SignedFile::seal(FileKind::Baseline, &here(), payload.into_bytes(), &key).unwrap();
    file.of_image_signer(&signers).unwrap().to_json()
}

#[test]
fn attack_52_a_signer_of_images_replaces_the_baseline_of_another() {
    site(async |site| {
        let (server, edge) = (KEY, OTHER);
        assert_eq!(
            apply(site, "baseline", &baseline_of(server, "server-os", 1)).await,
            "applied"
        );
        let taken = baseline_of(edge, "server-os", 2);
        assert_eq!(apply(site, "baseline", &taken).await, "HM-POLICY-0436");
        let same = baseline_of(edge, "server-os", 1);
        assert_eq!(
            apply(site, "baseline", &same).await,
            "HM-POLICY-0436",
            "nor by signing what is there"
        );
        // The controls: each signer has its own names, and goes on with them.
        assert_eq!(apply(site, "baseline", &baseline_of(edge, "edge", 1)).await, "applied");
        assert_eq!(
            apply(site, "baseline", &baseline_of(server, "server-os", 2)).await,
            "applied"
        );
        // By the operators' word the name passes on, and the record says from whom.
        let request = ApplyPolicyFileRequest {
            kind: "baseline".into(),
            content: baseline_of(edge, "server-os", 3).into_bytes().into(),
            dry_run: false,
            replace_signer: true,
        };
        site.admin.admin.apply_policy_file(request).await.unwrap();
        assert_eq!(
            apply(site, "baseline", &baseline_of(server, "server-os", 4)).await,
            "HM-POLICY-0436"
        );
        let id = |key: &str| OperatorKey::from_pem(key.as_bytes()).unwrap().id().to_string();
        let asked = ListRecordsRequest {
            limit: 20,
            ..Default::default()
        };
        let records = site.admin.admin.list_records(asked).await.unwrap().into_inner().records;
        let told: Vec<_> = records
            .iter()
            .filter(|record| record.detail.contains("replaced_signer"))
            .collect();
        assert_eq!(told.len(), 1);
        let detail: serde_json::Value = serde_json::from_str(&told[0].detail).unwrap();
        assert_eq!(detail["replaced_signer"], id(server));
        assert_eq!(detail["image_signer"], id(edge));
    });
}
