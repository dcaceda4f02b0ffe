//! Attacks 47 and 52: a clean enrolment and a dirty boot, and files that no operator put in force.

use hallmark_policy::Baseline;
use hallmark_policy::signed::{FileKind, OperatorKey, OperatorKeys, SignedFile, require_newer};
use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;

use crate::scene::{Logs, Scene};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJuoCZrnrtSd6+dgE\nQUITG8uizr5FnPF6n3sYUkuSuVahRANCAAS9tHiAIphZs4U5zYTiH9gQaJ5Giwvw\nb+vMUsGU7iMGAXySR3FpBWO8ywW8gvSi9jDxeHHxe2HLupYXSd8ymcmA\n-----END PRIVATE KEY-----\n";
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBQPjLJgBJycADNBx\n+Q9+YzkH2Hpp8Fe/dzGJvkzJE9+hRANCAARqWf8ccoACMlmnntfGETqmF8xMwQAv\nu41nWceXO4cWnuBnYtDH4iNVfaJhcfDzUgr0vbMTBxevl3WUIlCRMcZS\n-----END PRIVATE KEY-----\n";

#[test]
fn attack_47_enrolled_clean_and_booted_dirty() {
    let mut scene = Scene::under("[boot]\nbaselines = [\"edge\"]");
    let clean = Logs::recorded("base");
    assert_eq!(scene.honest(&clean), "HM-POLICY-0128", "no baseline is there yet");
    let appraisal = scene.show(&clean, &clean).unwrap();
    let baseline = Baseline::capture("edge", 1, 1_795_392_000, "n", appraisal.facts(), None).unwrap();
    scene.policies.add_baseline(baseline);
    assert_eq!(scene.honest(&clean), "trusted");
    assert_eq!(scene.honest(&Logs::recorded("base-again")), "trusted");
    for dirty in ["cmdline", "initrd", "sb-on"] {
        assert_eq!(scene.honest(&Logs::recorded(dirty)), "HM-POLICY-0126", "{dirty}");
        // It shows the clean boot's log.
        let dirty_logs = Logs::recorded(dirty);
        let lie = Logs {
            tcg: clean.tcg.clone(),
            ..dirty_logs.clone()
        };
        assert_eq!(scene.verdict(&dirty_logs, &lie), "HM-VERIFY-0703", "{dirty}");
    }
    // The refusal names the first event that parts.
    let appraisal = scene
        .show(&Logs::recorded("cmdline"), &Logs::recorded("cmdline"))
        .unwrap();
    let reasons = appraisal.reasons().iter();
    let refusal = reasons
        .filter(|reason| !reason.holds)
        .find(|reason| reason.rule == "boot.baselines");
    assert!(refusal.unwrap().first_event.is_some(), "{refusal:?}");
}

#[test]
fn attack_52_a_file_that_no_operator_signed_or_an_old_one() {
    let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    let other = OperatorKey::from_pem(OTHER.as_bytes()).unwrap();
    let mut keys = OperatorKeys::default();
    keys.add_spki(&key.spki()).unwrap();
    let policy = b"version = 1\nname = \"edge\"\nserial = 7\n".to_vec();
    let here = TrustDomain::parse("example.org").unwrap();
    let seal = |kind, key: &OperatorKey| {
        let sealed = SignedFile::seal(kind, &here, policy.clone(), key);
        sealed.unwrap().to_json()
    };
    let open = |text: &str| {
        let opened = SignedFile::parse(text).and_then(|file| file.open(FileKind::Policy, Some(&here), &keys));
        opened.map_or_else(|error| error.code().to_string(), |_| "opened".into())
    };
    let good = seal(FileKind::Policy, &key);
    assert_eq!(open(&good), "opened");
    let foreign = seal(FileKind::Policy, &other);
    assert_eq!(open(&foreign), "HM-POLICY-0425");
    let renamed = foreign.replace(&other.id().to_string(), &key.id().to_string());
    assert_eq!(open(&renamed), "HM-POLICY-0426");
    let baseline = seal(FileKind::Baseline, &key);
    assert_eq!(open(&baseline), "HM-POLICY-0424");
    assert_eq!(open(&baseline.replace("\"baseline\"", "\"policy\"")), "HM-POLICY-0426");
    assert!(require_newer(FileKind::Policy, "edge", Some(7), 8).is_ok());
    for offered in [0, 6, 7] {
        let error = require_newer(FileKind::Policy, "edge", Some(7), offered).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-POLICY-0427", "{offered}");
    }
}
