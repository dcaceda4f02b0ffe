//! Several policies together, dry runs, selectors, and judging again.

use std::collections::BTreeSet;

use hallmark_node::TpmClass;
use hallmark_policy::{Policy, PolicySet, Reason, Rules, Standing, reappraise};

use crate::machine::{boot_of, code, good, now, spoiled};

fn named(name: &str, lines: &str) -> Policy {
    let text = format!("version = 1\nname = \"{name}\"\nserial = 1\n{lines}\n");
    Policy::from_toml(name, &text).unwrap()
}

fn set_of(policies: &[(&str, &str)]) -> PolicySet {
    let mut set = PolicySet::default();
    for (name, lines) in policies {
        set.apply(named(name, lines));
    }
    set
}

fn texts(set: &PolicySet, machine: &hallmark_policy::MachineFacts) -> BTreeSet<String> {
    let result = set.judge(machine, now());
    result.selectors().iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_policy_the_built_in_rules_hold_alone() {
    let result = PolicySet::default().judge(&good(), now());
    assert!(result.is_trusted());
    assert_eq!(result.reasons().len(), 6);
    assert!(result.reasons().iter().all(|reason| reason.policy == Reason::BUILT_IN));
    let simulator = spoiled(|it| it.tpm.class = TpmClass::Simulator.as_str().into());
    assert_eq!(
        code(&PolicySet::default().judge(&simulator, now())),
        Some("HM-POLICY-0002")
    );
}

#[test]
fn every_policy_that_applies_must_hold_and_no_other() {
    let set = set_of(&[
        ("all", "[boot]\nsecure_boot = true"),
        (
            "discrete",
            "applies_to = [\"tpm2:class:discrete\"]\n[boot]\ndebug = false",
        ),
        (
            "lab",
            "applies_to = [\"tpm2:class:discrete\", \"inventory:site:lab\"]\n[boot]\naudit_mode = false",
        ),
        (
            "virtual",
            "applies_to = [\"tpm2:class:virtual\"]\n[boot]\nsecure_boot = false",
        ),
    ]);
    let held = set.judge(&good(), now());
    assert!(held.is_trusted(), "{:?}", held.refusal());
    let policies: BTreeSet<_> = held.reasons().iter().map(|reason| reason.policy.as_str()).collect();
    assert_eq!(policies, ["all", "built-in", "discrete", "lab"].into());
    let debugged = spoiled(|it| boot_of(it).debug = Some(true));
    assert_eq!(set.judge(&debugged, now()).refusal().unwrap().policy, "discrete");
    let elsewhere = spoiled(|it| {
        it.labels.clear();
        boot_of(it).audit_mode = Some(true);
    });
    assert!(set.judge(&elsewhere, now()).is_trusted());
}

#[test]
fn a_dry_run_reports_and_refuses_nobody() {
    let rule = "[boot]\nsecure_boot = true";
    let off = spoiled(|it| boot_of(it).secure_boot = Some(false));
    let dry = set_of(&[("p", &format!("[mode]\ndry_run = true\n{rule}"))]).judge(&off, now());
    assert!(dry.is_trusted());
    let failure = dry.failures().next().unwrap();
    assert!(failure.dry_run && failure.rule == "boot.secure_boot" && !failure.refuses());
    assert!(!dry.selectors().iter().any(|selector| selector.kind() == "policy"));
    let wet = set_of(&[("p", rule)]).judge(&off, now());
    assert_eq!(code(&wet), Some("HM-POLICY-0102"));
}

#[test]
fn what_is_found_becomes_selectors() {
    let set = set_of(&[
        ("strict", "[boot]\nsecure_boot = true"),
        ("other", "[boot]\nsecure_boot = false"),
    ]);
    let found = texts(&set, &good());
    for selector in [
        "boot:secure-boot:on",
        "policy:strict",
        "inventory:site:lab",
        "tpm2:class:discrete",
        "tpm2:model:SLB9670",
        "tpm2:firmware-version:0000000000070055",
    ] {
        assert!(found.contains(selector), "{selector} in {found:?}");
    }
    assert!(!found.contains("policy:other"));
    let off = texts(&set, &spoiled(|it| boot_of(it).secure_boot = Some(false)));
    assert!(
        off.contains("boot:secure-boot:off") && !off.contains("boot:secure-boot:on") && off.contains("policy:other")
    );
    let unproven = texts(&set, &spoiled(|it| it.boot = None));
    assert!(
        !unproven.iter().any(|selector| selector.starts_with("boot:")),
        "{unproven:?}"
    );
    let unquoted = texts(&set, &spoiled(|it| drop(it.pcrs.remove("sha256:7"))));
    assert!(
        !unquoted.iter().any(|selector| selector.starts_with("boot:")),
        "{unquoted:?}"
    );
}

#[test]
fn the_same_facts_and_rules_give_the_same_bytes() {
    let set = set_of(&[
        ("b", "[boot]\nsecure_boot = false"),
        ("a", "[tpm]\nmax_quote_age = \"1h\""),
    ]);
    let other_order = set_of(&[
        ("a", "[tpm]\nmax_quote_age = \"1h\""),
        ("b", "[boot]\nsecure_boot = false"),
    ]);
    let stored = serde_json::to_string(&good()).unwrap();
    let read = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), stored);
    let bytes = set.judge(&good(), now()).to_json();
    assert_eq!(other_order.judge(&read, now()).to_json(), bytes);
    assert!(
        bytes.contains("\"code\":\"HM-POLICY-0102\"") && bytes.contains("boot:secure-boot:on"),
        "{bytes}"
    );
}

#[test]
fn a_new_policy_is_held_against_what_nodes_proved_last() {
    let before = PolicySet::default();
    let machines = [
        good(),
        spoiled(|it| boot_of(it).debug = Some(true)),
        spoiled(|it| it.boot = None),
    ];
    let judged: Vec<_> = machines.iter().map(|machine| before.judge(machine, now())).collect();
    assert!(judged.iter().all(hallmark_policy::AppraisalResult::is_trusted));
    let standings = || {
        machines
            .iter()
            .zip(&judged)
            .zip(["a", "b", "c"])
            .map(|((facts, judged), node)| Standing {
                node,
                facts,
                trusted: judged.is_trusted(),
                selectors: judged.selectors(),
            })
    };
    assert_eq!(reappraise(&before, standings(), now()).count(), 0, "nothing changed");
    let after = set_of(&[("p", "[boot]\ndebug = false")]);
    let changes: Vec<_> = reappraise(&after, standings(), now()).collect();
    let lost: Vec<_> = changes
        .iter()
        .filter(|change| change.lost_trust())
        .map(|change| change.node.as_str())
        .collect();
    assert_eq!(lost, ["b", "c"]);
    // The good one stays trusted, with one selector more.
    assert!(
        changes
            .iter()
            .any(|change| change.node == "a" && !change.lost_trust() && !change.gained_trust())
    );
}

#[test]
fn an_advisory_is_a_rule_too() {
    let before = PolicySet::default().judge(&good(), now());
    let facts = good();
    let standing = Standing {
        node: "a",
        facts: &facts,
        trusted: true,
        selectors: before.selectors(),
    };
    let advisory = PolicySet::from(Rules {
        denied_firmware: [0x0007_0055].into(),
        ..Rules::default()
    });
    let change = reappraise(&advisory, [standing], now()).next().unwrap();
    assert!(change.lost_trust());
    assert_eq!(code(&change.result), Some("HM-POLICY-0006"));
}
