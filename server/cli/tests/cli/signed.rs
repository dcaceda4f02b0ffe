//! Signed rules, looked at without their server.

use std::time::SystemTime;

use hallmark_evidence::Source;
use hallmark_verify::testing::{SoftwareMachine, VendorCa, attest};
use rcgen::KeyPair;

use crate::evidence::{hallmark, import};

/// The evidence of a node that a server of this trust domain attested.
fn attested_by_example_org() -> Vec<u8> {
    let vendor = VendorCa::new();
    let (machine, trust) = (SoftwareMachine::new(&vendor), SoftwareMachine::trust(&vendor));
    let evidence = attest(&machine, &trust, None, SystemTime::now()).unwrap();
    let judged_at = "2026-11-01T00:00:00Z".to_owned();
    let source = Source::Attestation {
        node: "spiffe://example.org/spire/agent/tpm2/00ff".to_owned(),
        judged_at: judged_at.clone(),
        verdict: "accepted".to_owned(),
    };
    evidence.to_file(source, judged_at).to_json().unwrap()
}

#[test]
fn attack_75_a_signed_policy_is_held_against_machines_of_its_own_trust_domain() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (_, imported) = import(folder.path(), "base", |_| {});
    let attested = path("attested.json");
    std::fs::write(&attested, attested_by_example_org()).unwrap();
    let pair = KeyPair::generate().unwrap();
    for (name, text) in [
        ("operator.pem", pair.serialize_pem()),
        ("operator.pub", pair.public_key_pem()),
        ("stranger.pub", KeyPair::generate().unwrap().public_key_pem()),
        (
            "edge.toml",
            "version = 1\nname = \"edge\"\nserial = 1\n[boot]\nrequired = false\n[tpm]\nclock_safe = true\n".to_owned(),
        ),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let sign = |trust_domain: &str, out: &str| {
        let (file, key, out) = (path("edge.toml"), path("operator.pem"), path(out));
        let words = [
            "policy",
            "sign",
            &file,
            "--key",
            &key,
            "--trust-domain",
            trust_domain,
            "-o",
            &out,
        ];
        let done = hallmark(&words);
        assert_eq!(done.code, 0, "{}", done.stderr);
    };
    sign("example.org", "ours.json");
    sign("other.example", "theirs.json");
    let verify = |evidence: &str, policy: &str, key: Option<&str>| {
        let (policy, key) = (path(policy), key.map(path));
        let mut words = vec!["evidence", "verify", evidence, "--policy", &policy];
        words.extend(key.iter().flat_map(|key| ["--operator-key", key.as_str()]));
        let done = hallmark(&words);
        (done.code, done.stderr)
    };
    let ours = Some("operator.pub");
    // The control: the machine keeps the policy, whether it is signed or not.
    assert_eq!(verify(&attested, "edge.toml", None), (0, String::new()));
    assert_eq!(verify(&attested, "ours.json", ours), (0, String::new()));
    for (policy, key, code) in [
        ("theirs.json", ours, "HM-POLICY-0432"),
        ("ours.json", Some("stranger.pub"), "HM-POLICY-0425"),
        ("ours.json", None, "--operator-key"),
    ] {
        let (exit, told) = verify(&attested, policy, key);
        assert!(exit == 2 && told.contains(code), "{policy}: {exit} {told}");
    }
    // Imported evidence names no machine, so either is as good as the other.
    for policy in ["ours.json", "theirs.json"] {
        let (exit, told) = verify(&imported, policy, ours);
        assert_eq!(exit, 0, "{policy}: {told}");
    }
}
