//! Baselines: captured, compared, rolled out in steps, retired.

use hallmark_policy::{Baseline, MachineFacts, Prediction};
use hallmark_reason::Coded as _;

use crate::machine::{boot_of, code, digest, event, good, now, set, spoiled};

const CREATED: i64 = 1_795_392_000;

fn captured(name: &str, machine: &MachineFacts) -> Baseline {
    Baseline::capture(name, 1, CREATED, "n-1", machine, None).unwrap()
}

/// The next release of the image: another kernel command line, which changes PCR 4 and 9.
fn updated() -> MachineFacts {
    spoiled(|it| {
        it.pcrs.insert("sha256:4".into(), digest("44"));
        it.pcrs.insert("sha256:9".into(), digest("99"));
        boot_of(it).command_line = Some("root=/dev/vda2 ro quiet evil=1".into());
        let boot = it.boot.as_mut().unwrap();
        boot.events[8] = event(8, 4, "EV_EFI_BOOT_SERVICES_APPLICATION", "44", "BOOTX64.EFI");
        boot.events[9] = event(
            9,
            9,
            "EV_EVENT_TAG",
            "99",
            "LOADED_IMAGE: root=/dev/vda2 ro quiet evil=1",
        );
    })
}

#[test]
fn a_baseline_holds_what_machines_of_a_kind_share() {
    let baseline = captured("edge", &good());
    let registers: Vec<_> = baseline.registers.keys().map(String::as_str).collect();
    let expected = [
        "sha256:0",
        "sha256:11",
        "sha256:12",
        "sha256:13",
        "sha256:14",
        "sha256:2",
        "sha256:3",
        "sha256:4",
        "sha256:7",
        "sha256:8",
        "sha256:9",
    ];
    assert_eq!(registers, expected);
    assert!(baseline.is_matched_by(&good()));
    assert!(baseline.compare(&good()).matches && baseline.compare(&good()).to_string().is_empty());
    // What differs from machine to machine or minute to minute does not matter.
    for pcr in [1, 5, 10, 15] {
        let other = spoiled(|it| drop(it.pcrs.insert(format!("sha256:{pcr}"), digest("77"))));
        assert!(baseline.is_matched_by(&other), "PCR {pcr}");
    }
    for pcr in [0, 7, 12, 14] {
        let other = spoiled(|it| drop(it.pcrs.insert(format!("sha256:{pcr}"), digest("77"))));
        assert!(!baseline.is_matched_by(&other), "PCR {pcr}");
        let unquoted = spoiled(|it| drop(it.pcrs.remove(&format!("sha256:{pcr}"))));
        assert!(!baseline.is_matched_by(&unquoted), "PCR {pcr} was not quoted");
    }
}

#[test]
fn attack_47_a_machine_that_was_enrolled_clean_and_boots_dirty_is_refused_and_told_where() {
    let mut set = set("[boot]\nbaselines = [\"edge\"]");
    set.add_baseline(captured("edge", &good()));
    let clean = set.judge(&good(), now());
    assert!(clean.is_trusted());
    assert!(
        clean
            .selectors()
            .iter()
            .any(|selector| selector.to_string() == "boot:baseline:edge")
    );
    let dirty = set.judge(&updated(), now());
    let reason = dirty.refusal().unwrap();
    assert_eq!(
        (reason.code.as_str(), reason.rule.as_str()),
        ("HM-POLICY-0126", "boot.baselines")
    );
    assert_eq!(reason.actual.as_deref(), Some("sha256:4, sha256:9 differs from edge"));
    assert_eq!(reason.first_event.as_ref().unwrap().number, 8);
    assert!(
        !dirty
            .selectors()
            .iter()
            .any(|selector| selector.kind() == "boot" && selector.value().starts_with("baseline"))
    );
}

#[test]
fn a_difference_is_told_in_words() {
    let comparison = captured("edge", &good()).compare(&updated());
    assert!(!comparison.matches);
    let text = comparison.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "the kernel command line: was \"root=/dev/vda2 ro quiet\", is \"root=/dev/vda2 ro quiet evil=1\""
                .to_owned(),
            format!(
                "PCR sha256:4: expected {}, got {}; first at event 8 (PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION, BOOTX64.EFI), \
                 where the baseline has event 8 (PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION, BOOTX64.EFI)",
                digest("41"),
                digest("44")
            ),
            format!(
                "PCR sha256:9: expected {}, got {}; first at event 9 (PCR 9, EV_EVENT_TAG, LOADED_IMAGE: root=/dev/vda2 ro quiet \
                 evil=1), where the baseline has event 9 (PCR 9, EV_EVENT_TAG, LOADED_IMAGE: root=/dev/vda2 ro quiet)",
                digest("91"),
                digest("99")
            ),
        ]
    );
    let image = spoiled(|it| boot_of(it).images[1].sha256 = digest("ff"));
    let words: Vec<_> = captured("edge", &good())
        .compare(&image)
        .facts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].contains("is gone") && words[1].contains("is new"), "{words:?}");
    let shorter = spoiled(|it| {
        it.pcrs.insert("sha256:9".into(), digest("00"));
        it.boot.as_mut().unwrap().events.pop();
    });
    let text = captured("edge", &good()).compare(&shorter).to_string();
    assert!(
        text.contains("the baseline's event 9") && text.contains("is missing"),
        "{text}"
    );
    let unquoted = spoiled(|it| drop(it.pcrs.remove("sha256:9")));
    assert!(
        captured("edge", &good())
            .compare(&unquoted)
            .to_string()
            .contains("PCR sha256:9 was not quoted")
    );
}

#[test]
fn a_staged_rollout_lets_the_old_and_the_new_in() {
    let (old, new) = (captured("old", &good()), captured("new", &updated()));
    let other = spoiled(|it| drop(it.pcrs.insert("sha256:4".into(), digest("45"))));
    let mut set = set("[boot]\nbaselines = [\"old\", \"new\"]");
    assert_eq!(
        code(&set.judge(&good(), now())),
        Some("HM-POLICY-0128"),
        "no baseline is there yet"
    );
    assert_eq!(set.dangling_baselines().len(), 2);
    set.add_baseline(old.clone());
    assert!(set.judge(&good(), now()).is_trusted() && !set.judge(&updated(), now()).is_trusted());
    set.add_baseline(new.clone());
    assert!(set.judge(&good(), now()).is_trusted() && set.judge(&updated(), now()).is_trusted());
    assert!(!set.judge(&other, now()).is_trusted());
    set.add_baseline(old.retired(2));
    assert!(!set.judge(&good(), now()).is_trusted() && set.judge(&updated(), now()).is_trusted());
    assert!(old.retired(2).compare(&good()).to_string().contains("retired"));
    set.remove_baseline("new");
    assert_eq!(code(&set.judge(&updated(), now())), Some("HM-POLICY-0128"));
    // One baseline with both states.
    let merged = old.merged(&new, 2).unwrap();
    assert!(merged.is_matched_by(&good()) && merged.is_matched_by(&updated()) && !merged.is_matched_by(&other));
    assert_eq!(merged.boots.len(), 2);
    let fewer = Baseline::capture("x", 1, CREATED, "n", &good(), Some(&[4, 7].into())).unwrap();
    assert_eq!(old.merged(&fewer, 2).unwrap_err().code().as_str(), "HM-POLICY-0304");
}

#[test]
fn attack_44_dbx_must_revoke_what_the_baselines_does() {
    let mut set = set("[boot]\ndbx_of_baseline = \"edge\"");
    assert_eq!(
        code(&set.judge(&good(), now())),
        Some("HM-POLICY-0128"),
        "there is no such baseline"
    );
    set.add_baseline(captured("edge", &good()));
    assert!(set.judge(&good(), now()).is_trusted());
    let more = spoiled(|it| boot_of(it).dbx_hashes.extend([digest("e3")]));
    assert!(set.judge(&more, now()).is_trusted());
    let old = spoiled(|it| boot_of(it).dbx_hashes.retain(|hash| *hash != digest("e1")));
    assert_eq!(code(&set.judge(&old, now())), Some("HM-POLICY-0114"));
    let absent = spoiled(|it| boot_of(it).dbx = None);
    assert_eq!(code(&set.judge(&absent, now())), Some("HM-POLICY-0114"));
}

#[test]
fn what_cannot_be_a_baseline_is_refused() {
    let capture = |machine: &MachineFacts, registers: &[u8]| {
        Baseline::capture(
            "edge",
            1,
            CREATED,
            "n",
            machine,
            Some(&registers.iter().copied().collect()),
        )
        .map_err(|error| error.code().to_string())
    };
    assert!(capture(&good(), &[4, 11]).is_ok());
    for (machine, registers, code) in [
        (spoiled(|it| it.boot = None), &[4][..], "HM-POLICY-0301"),
        (
            spoiled(|it| drop(it.pcrs.remove("sha256:4"))),
            &[4, 7],
            "HM-POLICY-0302",
        ),
        (good(), &[10], "HM-POLICY-0303"),
        (
            spoiled(|it| drop(it.pcrs.insert("sha256:16".into(), digest("00")))),
            &[16],
            "HM-POLICY-0303",
        ),
        (good(), &[], "HM-POLICY-0305"),
    ] {
        assert_eq!(capture(&machine, registers).unwrap_err(), code, "{registers:?}");
    }
    let bad_name = Baseline::capture("Edge 1", 1, CREATED, "n", &good(), None);
    assert_eq!(bad_name.unwrap_err().code().as_str(), "HM-POLICY-0305");
}

#[test]
fn a_file_reads_back_as_it_was_and_only_a_good_one() {
    let baseline = captured("edge", &good());
    let text = baseline.to_json();
    assert_eq!(Baseline::from_json(&text).unwrap(), baseline);
    assert_eq!(Baseline::from_json(&text).unwrap().to_json(), text);
    assert_eq!(Baseline::from_json(&format!("\u{feff}{text}")).unwrap(), baseline);
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"name\": \"edge\"", "\"name\": \"../edge\""),
        ("\"sha256:4\"", "\"sha1:4\""),
        ("\"sha256:4\"", "\"sha256:10\""),
        ("\"sha256:4\"", "\"sha256:04\""),
        ("\"state\": \"active\"", "\"state\": \"activ\""),
        ("\"serial\": 1,", "\"serial\": 1, \"more\": 1,"),
        ("4141", "414G"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Baseline::from_json(&text.replacen(from, to, 1)).expect_err(to);
        assert!(
            ["HM-POLICY-0305", "HM-POLICY-0303"].contains(&error.code().as_str()),
            "{to}"
        );
    }
    let empty = serde_json::json!({"version": 1, "name": "x", "serial": 1, "state": "active", "created_at": 1,
        "origin": {"predicted": Prediction::default()}, "registers": {}, "boots": []});
    assert!(
        Baseline::from_json(&empty.to_string()).is_err(),
        "every machine would match"
    );
}

#[test]
fn a_predicted_baseline_is_matched_by_values_alone() {
    let values = [
        ("sha256:4".to_owned(), [digest("41")].into()),
        ("sha256:11".to_owned(), [digest("b1")].into()),
    ];
    let prediction = Prediction {
        uki_sha256: digest("ab"),
        ..Prediction::default()
    };
    let baseline = Baseline::predicted("next", 1, CREATED, prediction, values.into(), vec![]).unwrap();
    assert!(baseline.is_matched_by(&good()));
    let comparison = baseline.compare(&updated());
    assert_eq!(comparison.registers.len(), 1);
    assert!(comparison.facts.is_empty() && comparison.first_event().is_none());
}
