//! `hallmark policy test`: a policy against evidence files.

use crate::evidence::{hallmark, import};

#[test]
fn a_policy_is_tried_on_machines_before_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let (on, off) = (folder.path().join("on"), folder.path().join("off"));
    std::fs::create_dir_all(&on).unwrap();
    std::fs::create_dir_all(&off).unwrap();
    let (_, secure) = import(&on, "sb-on", |_| {});
    let (_, open) = import(&off, "base", |_| {});
    let policy = folder.path().join("policy.toml");
    let written = |applies_to: &str| {
        let text = format!("version = 1\nname = \"edge\"\nserial = 1\n{applies_to}\n[boot]\nsecure_boot = true\n");
        std::fs::write(&policy, text).unwrap();
        policy.display().to_string()
    };
    let all = written("");
    let good = hallmark(&["policy", "test", &all, &secure]);
    assert_eq!(
        (good.code, good.stdout),
        (0, format!("{secure}: holds\n")),
        "{}",
        good.stderr
    );
    let both = hallmark(&["policy", "test", &all, &secure, &open]);
    assert_eq!(both.code, 5);
    assert!(
        both.stdout
            .contains(&format!("{open}: refused\n  HM-POLICY-0102 boot.secure_boot")),
        "{}",
        both.stdout
    );
    let json = hallmark(&["policy", "test", &all, &secure, &open, "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json[0]["verdict"], &json[1]["verdict"]),
        (&"holds".into(), &"refused".into())
    );
    // What is known to be another machine's policy is not held against this one.
    let other = written(&format!("applies_to = [\"tpm2:ek-hash:{}\"]", "ab".repeat(32)));
    let other = hallmark(&["policy", "test", &other, &open]);
    assert!(
        matches!(
            (other.code, other.stdout.contains("not for it")),
            (0, true) | (5, false)
        ),
        "an imported quote may have no EK: then the policy applies: {}",
        other.stdout
    );
    let cut = folder.path().join("cut.evidence");
    std::fs::write(&cut, &std::fs::read(&open).unwrap()[..100]).unwrap();
    assert_eq!(hallmark(&["policy", "test", &all, &cut.display().to_string()]).code, 2);
}
