//! Whom a policy is for, where facts are known, stated by the inventory, and not known at all.

use std::collections::BTreeSet;

use hallmark_policy::{AppraisalResult, InventoryStatement, MachineFacts};

use crate::machine::{boot_of, code, good, judge, spoiled};

/// Refuses every machine that it is for.
fn strict(applies_to: &[&str]) -> String {
    format!("applies_to = {applies_to:?}\n[boot]\nsecure_boot = false")
}

fn policies(result: &AppraisalResult) -> BTreeSet<&str> {
    result.reasons().iter().map(|it| it.policy.as_str()).collect()
}

/// A machine that keeps its certificate back, with what the inventory says of it.
fn bare(line: Option<InventoryStatement>) -> MachineFacts {
    spoiled(|it| {
        it.tpm.certificate = None;
        it.tpm.class = "unknown".into();
        it.tpm.enrolled_by = "inventory".into();
        it.tpm.inventory = line;
    })
}

const OF_THE_CERTIFICATE: [(&str, &str, &str); 4] = [
    ("class", "tpm2:class:discrete", "tpm2:class:virtual"),
    (
        "manufacturer",
        "tpm2:manufacturer:id:49465800",
        "tpm2:manufacturer:id:414D4400",
    ),
    ("model", "tpm2:model:SLB9670", "tpm2:model:AMD"),
    ("firmware", "tpm2:firmware:id:00070055", "tpm2:firmware:id:00070056"),
];

#[test]
fn attack_64_what_is_not_known_lifts_no_policy() {
    for (fact, its_own, anothers) in OF_THE_CERTIFICATE {
        assert_eq!(
            code(&judge(&strict(&[its_own]), &good())),
            Some("HM-POLICY-0102"),
            "{fact}"
        );
        assert!(
            judge(&strict(&[anothers]), &good()).is_trusted(),
            "the control: {anothers}"
        );
        for wanted in [its_own, anothers] {
            for line in [None, Some(InventoryStatement::default())] {
                let result = judge(&strict(&[wanted]), &bare(line));
                let refusal = result.refusal().unwrap_or_else(|| panic!("{wanted} was lifted"));
                assert_eq!(refusal.code.as_str(), "HM-POLICY-0102", "{wanted}");
                let why = format!("the machine's {fact} is not known");
                assert!(refusal.text.contains(&why), "{}", refusal.text);
                let told = result.reasons().iter().find(|it| it.rule == "applies_to").unwrap();
                assert!(told.holds && told.text.contains(&why), "{told:?}");
                assert_eq!(told.code.as_str(), "HM-POLICY-0011");
            }
        }
    }
}

#[test]
fn what_the_inventory_states_is_known() {
    let stated = InventoryStatement {
        class: Some("discrete".into()),
        manufacturer: Some("ID:49465800".into()),
        model: Some("slb9670".into()),
        expired: false,
    };
    let expired = InventoryStatement {
        expired: true,
        ..stated.clone()
    };
    for line in [stated, expired] {
        let machine = bare(Some(line));
        for (fact, its_own, anothers) in OF_THE_CERTIFICATE {
            assert_eq!(
                code(&judge(&strict(&[its_own]), &machine)),
                Some("HM-POLICY-0102"),
                "{fact}"
            );
            let other = judge(&strict(&[anothers]), &machine);
            // A line cannot say which firmware a TPM was made with.
            assert_eq!(other.is_trusted(), fact != "firmware", "{anothers}");
            assert_eq!(policies(&other).contains("p"), fact == "firmware", "{anothers}");
        }
    }
}

#[test]
fn certificate_and_inventory_both_select() {
    let machine = spoiled(|it| {
        it.tpm.inventory = Some(InventoryStatement {
            class: Some("firmware".into()),
            manufacturer: Some("id:494E5443".into()),
            ..InventoryStatement::default()
        });
    });
    for wanted in [
        "tpm2:class:discrete",
        "tpm2:class:firmware",
        "tpm2:manufacturer:id:49465800",
        "tpm2:manufacturer:id:494e5443",
    ] {
        assert_eq!(
            code(&judge(&strict(&[wanted]), &machine)),
            Some("HM-POLICY-0102"),
            "{wanted}"
        );
    }
    for other in [
        "tpm2:class:virtual",
        "tpm2:manufacturer:id:414D4400",
        "tpm2:class:unknown",
    ] {
        assert!(judge(&strict(&[other]), &machine).is_trusted(), "{other}");
    }
}

#[test]
fn one_fact_that_does_not_fit_is_enough_to_be_out() {
    let wanted = ["tpm2:class:virtual", "inventory:site:elsewhere"];
    assert!(judge(&strict(&wanted), &bare(None)).is_trusted());
    let wanted = ["tpm2:class:virtual", "inventory:site:lab"];
    assert_eq!(code(&judge(&strict(&wanted), &bare(None))), Some("HM-POLICY-0102"));
    assert_eq!(
        code(&judge(&strict(&["tpm2:class:unknown"]), &bare(None))),
        Some("HM-POLICY-0102")
    );
    let ours = format!("tpm2:ek-hash:{}", good().tpm.ek_sha256);
    assert_eq!(code(&judge(&strict(&[&ours]), &bare(None))), Some("HM-POLICY-0102"));
    let other = format!("tpm2:ek-hash:{}", "00".repeat(32));
    assert!(judge(&strict(&[&other]), &bare(None)).is_trusted());
}

#[test]
fn attack_66_an_expired_line_selects_policies_and_grants_nothing() {
    let of_site = strict(&["inventory:site:lab"]);
    let with_line = |expired| {
        spoiled(|it| {
            it.tpm.inventory = Some(InventoryStatement {
                expired,
                ..InventoryStatement::default()
            });
        })
    };
    let selects = |machine: &MachineFacts, kind: &str| {
        let judged = judge(
            "applies_to = [\"inventory:site:lab\"]\n[boot]\nsecure_boot = true",
            machine,
        );
        assert!(judged.is_trusted());
        judged.selectors().iter().any(|selector| selector.kind() == kind)
    };
    for expired in [false, true] {
        let machine = with_line(expired);
        assert_eq!(code(&judge(&of_site, &machine)), Some("HM-POLICY-0102"), "{expired}");
        for kind in ["inventory", "policy"] {
            assert_eq!(selects(&machine, kind), !expired, "{kind}, expired: {expired}");
        }
    }
}

/// `policy:<name>` says that a machine of that kind fulfils the policy. Who only might be of that kind does not get it.
#[test]
fn attack_64_keeping_a_certificate_back_earns_no_selector() {
    let rules = "applies_to = [\"tpm2:class:virtual\"]\n[boot]\nsecure_boot = true";
    let earns = |machine: &MachineFacts| {
        let judged = judge(rules, machine);
        assert!(judged.is_trusted());
        judged.selectors().iter().any(|it| it.kind() == "policy")
    };
    let virtual_one = spoiled(|it| it.tpm.class = "virtual".into());
    assert!(earns(&virtual_one), "positive control");
    assert!(!earns(&good()) && !earns(&bare(None)));
    let before = judge(rules, &good());
    let hidden = judge(rules, &bare(None));
    assert!(
        hidden.selectors().is_subset(before.selectors()),
        "{:?}",
        hidden.selectors()
    );
}

/// Its vendor made the certificate, and it has expired: what it says still decides which rules count, and grants nothing.
#[test]
fn a_certificate_that_lets_nobody_in_still_selects() {
    let expired = spoiled(|it| {
        it.tpm.enrolled_by = "inventory".into();
        it.tpm.inventory = Some(InventoryStatement::default());
    });
    assert_eq!(
        code(&judge(&strict(&["tpm2:class:discrete"]), &expired)),
        Some("HM-POLICY-0102")
    );
    let other = judge(&strict(&["tpm2:class:virtual"]), &expired);
    assert!(other.is_trusted());
    assert!(!other.selectors().iter().any(|it| it.value().starts_with("class:")));
    let denied = judge("[tpm]\ndenied_models = [\"slb9670\"]", &expired);
    assert_eq!(code(&denied), Some("HM-POLICY-0005"));
}

/// Of evidence that no server judged nothing is known of the machine.
#[test]
fn of_a_machine_that_nobody_knows_every_policy_applies() {
    let unknown = spoiled(|it| {
        it.tpm.ek_sha256.clear();
        it.tpm.enrolled_by.clear();
        it.tpm.certificate = None;
        it.labels.clear();
        boot_of(it).secure_boot = Some(true);
    });
    let ek = format!("tpm2:ek-hash:{}", "00".repeat(32));
    for wanted in [ek.as_str(), "inventory:site:elsewhere", "tpm2:model:AMD"] {
        assert_eq!(
            code(&judge(&strict(&[wanted]), &unknown)),
            Some("HM-POLICY-0102"),
            "{wanted}"
        );
    }
}
