//! Policy files: what is read, and how a fault is told.

use hallmark_policy::{PcrRule, Policy};
use hallmark_reason::Report;

use crate::machine::{digest, policy};

#[test]
fn a_whole_policy_is_read() {
    let read = policy(include_str!("whole.toml"));
    assert!(read.dry_run && read.applies_to.len() == 2);
    let boot = read.boot.unwrap();
    assert!(!boot.required && boot.secure_boot == Some(true) && boot.deployed_mode.is_none());
    assert_eq!(
        boot.signed_by.unwrap(),
        [digest("ab")].into(),
        "digests are taken in either case"
    );
    assert_eq!(boot.pcrs[&12], PcrRule::Zero);
    assert!(matches!(&boot.pcrs[&11], PcrRule::OneOf(values) if values.len() == 2));
    assert_eq!(boot.uki.keys().collect::<Vec<_>>(), ["initrd", "linux"]);
    assert_eq!(read.tpm.max_quote_age, Some(5400));
}

#[test]
fn the_least_policy_demands_a_boot_log() {
    let read = policy("[boot]");
    assert!(read.boot.unwrap().required && !read.dry_run && read.applies_to.is_empty());
}

#[test]
fn the_policies_of_the_reference_are_read() {
    let reference = include_str!("../../../../docs/reference/policy.md");
    let policies: Vec<&str> = reference
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(policies.len(), 2);
    for text in policies {
        let read = Policy::from_toml("policy.md", text).unwrap_or_else(|error| panic!("{}", Report(&error)));
        assert!(read.boot.is_some() != read.ima.is_some());
    }
    // Every key of the table has its row and stands in the example.
    let (_, table) = reference.split_once("## `[ima]`").unwrap();
    let (table, _) = table.split_once("### Lists").unwrap();
    for key in [
        "required",
        "boot_aggregate",
        "violations",
        "lines_at_most",
        "allow",
        "lists",
        "any_path",
        "keys",
        "exclude",
        "buffers",
    ] {
        assert!(table.contains(&format!("| `{key}` |")), "{key}");
    }
}

/// The golden file: `=== what`, the lines of a policy, `---`, the whole report.
#[test]
fn every_fault_is_told_as_the_golden_file_says() {
    let golden = include_str!("refusals.golden");
    let mut told = String::new();
    let mut cases = 0;
    for case in golden.split("=== ").skip(1) {
        let (what, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("---\n").unwrap();
        let report = match Policy::from_toml("edge.toml", &text.replace("$HASH", &digest("ab"))) {
            Ok(_) => "read".to_owned(),
            Err(error) => Report(&error).to_string(),
        };
        told.push_str(&format!("=== {what}\n{text}---\n{report}\n"));
        cases += 1;
    }
    assert!(cases > 25, "{cases}");
    assert!(told == golden, "what is told now:\n{told}");
}

#[test]
fn a_policy_that_is_too_large_is_not_looked_at() {
    let text = "#".repeat(Policy::MAX_BYTES + 1);
    let error = Policy::from_toml("big.toml", &text).unwrap_err();
    assert!(
        Report(&error)
            .to_string()
            .starts_with("HM-POLICY-0406: big.toml: the policy cannot be read")
    );
}

/// Databases and evidence files hold facts under these names.
#[test]
fn stored_facts_keep_their_names() {
    let facts = serde_json::to_value(crate::machine::good()).unwrap();
    let names: Vec<_> = facts.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["boot", "ima", "labels", "pcrs", "sighting", "tpm"]);
    let tpm = &facts["tpm"]["certificate"];
    assert_eq!(
        (&tpm["manufacturer"], &tpm["model"]),
        (&"id:49465800".into(), &"SLB9670".into())
    );
}
