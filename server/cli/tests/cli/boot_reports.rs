//! Boots of machines in the field that others reported as misjudged: what `hallmark evidence` says of them. The inputs were
//! made to show each case, with quotes of a software TPM.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::evidence::{hallmark, json};

const QUALIFICATION: &str = "00112233445566778899aabbccddeeff";

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/reports")
        .join(name)
}

/// The case as an evidence file in `folder`.
fn import(folder: &Path, name: &str) -> String {
    let case = case(name);
    let out = folder.join("machine.evidence").display().to_string();
    let mut arguments = vec!["evidence", "import", "--qualification", QUALIFICATION, "-o", &out];
    let files = [
        ("--ak-public", "ak.pub"),
        ("--quote", "quote.msg"),
        ("--signature", "quote.sig"),
        ("--eventlog", "eventlog.bin"),
        ("--systemd-log", "tpm2-measure.log"),
        ("--pcrs", "pcrs.txt"),
    ];
    let files = files.map(|(option, file)| (option, case.join(file)));
    let files = files.iter().filter(|(_, file)| file.exists());
    let files: Vec<_> = files
        .map(|(option, file)| (*option, file.display().to_string()))
        .collect();
    arguments.extend(files.iter().flat_map(|(option, file)| [*option, file.as_str()]));
    let done = hallmark(&arguments);
    assert_eq!(done.code, 0, "{}", done.stderr);
    out
}

/// The exit code, and the reasons of the boot's rules but the first, which only asks for a log.
fn judged(name: &str, policy: &Path) -> (i32, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let file = import(folder.path(), name);
    let policy = policy.display().to_string();
    let done = hallmark(&["evidence", "verify", &file, "--policy", &policy, "-o", "json"]);
    let reasons = json(&done)["reasons"].as_array().unwrap().clone();
    let asked = reasons.into_iter().filter(|reason| reason["rule"] != "boot.required");
    (done.code, asked.collect())
}

/// The same with these rules.
fn judged_by(name: &str, rules: &str) -> (i32, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, format!("version = 1\nname = \"p\"\nserial = 1\n{rules}\n")).unwrap();
    judged(name, &policy)
}

fn facts(name: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let done = hallmark(&["evidence", "explain", &import(folder.path(), name), "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.stdout);
    json(&done)["facts"].clone()
}

fn trusted(name: &str, policy: &str) {
    let (code, reasons) = judged(name, &case(name).join(policy));
    assert_eq!(code, 0, "{name}: {reasons:#?}");
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason["holds"] == true));
}

#[test]
fn shims_switches_are_no_authorities() {
    trusted("shim-moklisttrusted", "policy.toml");
    let facts = facts("shim-moklisttrusted");
    assert_eq!(facts["shim"]["mok_list_trusted"], true);
    assert_eq!(facts["shim"]["validation_disabled"], Value::Null);
    assert_eq!(facts["authorities"].as_array().unwrap().len(), 1, "{facts}");
    // The machine is still refused where its key is not listed, and told of that key alone.
    let other = "ab".repeat(32);
    let (code, reasons) = judged_by("shim-moklisttrusted", &format!("[boot]\nsigned_by = [\"{other}\"]"));
    assert_eq!((code, reasons[0]["code"].as_str()), (5, Some("HM-POLICY-0116")));
    let told = reasons[0].to_string();
    assert!(
        told.contains("da73446d64c5751fd01702e73e3df82f95ac7821238943274e01928d23031c25"),
        "{told}"
    );
    assert!(!told.contains("e3b0c44298fc1c149afbf4c8996fb924"), "{told}");
}

#[test]
fn a_certificate_without_its_owner_is_named_by_its_own_digest() {
    trusted("shim-bare-certificate", "policy.toml");
    let facts = facts("shim-bare-certificate");
    let authorities = facts["authorities"].as_array().unwrap();
    let shim = authorities.iter().find(|it| it["variable"] == "Shim").unwrap();
    assert_eq!(
        shim["sha256"],
        "5958487996310bc7674e28b110f914a8d747531881359a51c3c47df67eae5310"
    );
    assert_ne!(shim["subject"], "");
    let db = "da73446d64c5751fd01702e73e3df82f95ac7821238943274e01928d23031c25";
    let (code, reasons) = judged_by("shim-bare-certificate", &format!("[boot]\nsigned_by = [\"{db}\"]"));
    assert_eq!((code, reasons[0]["code"].as_str()), (5, Some("HM-POLICY-0116")));
}

#[test]
fn what_an_old_shim_logged_beyond_what_it_measured_is_passed_over() {
    trusted("shim-one-byte-more", "policy.toml");
    trusted("shim-one-byte-more", "policy-consistent.toml");
}

#[test]
fn systemds_own_words_are_what_they_say() {
    trusted("systemd-nvpcr-init", "policy.toml");
    let facts = facts("systemd-nvpcr-init");
    assert_eq!(facts["nvpcrs"].as_array().unwrap().len(), 1);
    assert_eq!(facts["phases"], serde_json::json!(["enter-initrd"]));
}

#[test]
fn a_version_that_is_a_guid_is_shown_as_one() {
    let version = "546bfb1e-1d0c-4055-a4ad-4ef4bf17b83a";
    assert_eq!(facts("scrtm-version-guid")["scrtm_version"], version);
    let rules = |version: &str| format!("[boot]\nscrtm_versions = [\"{version}\"]");
    assert_eq!(judged_by("scrtm-version-guid", &rules(version)).0, 0);
    let (code, reasons) = judged_by("scrtm-version-guid", &rules("1.0"));
    assert_eq!((code, reasons[0]["actual"].as_str()), (5, Some(version)));
}

/// Nothing shows that it was the firmware; so the operator is told that it may have been, and can say that it was.
#[test]
fn what_firmware_is_known_to_do_behind_its_end_is_told() {
    for (name, pcr, told) in [
        ("fit-2d-before-separator", 0, "FIT entry (type 0x2D)"),
        ("pcr1-behind-separator", 1, "hand-off tables"),
    ] {
        let (code, reasons) = judged(name, &case(name).join("policy.toml"));
        assert_eq!(
            (code, reasons[0]["code"].as_str()),
            (5, Some("HM-POLICY-0127")),
            "{name}"
        );
        let text = reasons[0]["text"].as_str().unwrap();
        assert!(text.contains(told), "{name}: {text}");
        assert!(
            reasons[0]["next_step"].as_str().unwrap().contains("consistent_except"),
            "{name}"
        );
        assert_eq!(reasons[0]["first_event"]["pcr"], pcr);
        let except = |pcr: u8| format!("[boot]\nconsistent = true\nconsistent_except = [{pcr}]");
        assert_eq!(judged_by(name, &except(pcr)).0, 0, "{name}");
        assert_eq!(judged_by(name, &except(6)).0, 5, "{name}");
    }
    // Boot variables show themselves: of three such events only the hand-off tables are told.
    let (_, reasons) = judged_by("pcr1-behind-separator", "[boot]\nconsistent = true");
    assert_eq!(reasons[0]["actual"], "1 such event");
    let (code, reasons) = judged(
        "fit-2d-before-separator",
        &case("fit-2d-before-separator").join("policy-version.toml"),
    );
    assert_eq!((code, reasons[0]["code"].as_str()), (5, Some("HM-POLICY-0109")));
    assert!(
        reasons[0]["text"].as_str().unwrap().contains("FIT entry (type 0x2D)"),
        "{reasons:?}"
    );
}
