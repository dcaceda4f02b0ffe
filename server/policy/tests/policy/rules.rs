//! Every rule, both ways, and over what is not proven.

use hallmark_policy::{MachineFacts, Reason};

use crate::machine::{boot_of, code, digest, event, good, judge, spoiled};

type Spoil = fn(&mut MachineFacts);

struct Case {
    /// Lines of the policy.
    rule: String,
    /// The rule's key in reasons.
    key: &'static str,
    code: &'static str,
    /// Takes the machine out of the rule.
    spoil: Spoil,
    /// Takes away what proves the fact.
    hide: Spoil,
    /// The first event, by its number, that the refusal names.
    event: Option<u32>,
}

fn unquoted<const PCR: u8>(machine: &mut MachineFacts) {
    machine.pcrs.remove(&format!("sha256:{PCR}"));
}

/// Shim measures an owner's certificate.
fn enrol(machine: &mut MachineFacts, digits: &str) {
    let events = &mut machine.boot.as_mut().unwrap().events;
    events.push(event(10, 14, "EV_IPL", digits, "MokList"));
}

#[expect(clippy::too_many_lines, reason = "one table, a row per rule")]
fn cases() -> Vec<Case> {
    let case = |key: &'static str, rule: &str, code, event, hide: Spoil, spoil: Spoil| Case {
        rule: format!("[boot]\n{rule}"),
        key,
        code,
        spoil,
        hide,
        event,
    };
    let list = |key: &str, digits: &[&str]| {
        let digests: Vec<_> = digits.iter().map(|digits| format!("{:?}", digest(digits))).collect();
        format!("{key} = [{}]", digests.join(", "))
    };
    vec![
        case(
            "boot.required",
            "required = true\nsecure_boot = true",
            "HM-POLICY-0101",
            None,
            |it| it.boot = None,
            |it| it.boot = None,
        ),
        case(
            "boot.consistent",
            "consistent = true",
            "HM-POLICY-0127",
            Some(7),
            |it| it.boot = None,
            |it| {
                boot_of(it).unexpected.insert(7);
            },
        ),
        case(
            "boot.secure_boot",
            "secure_boot = true",
            "HM-POLICY-0102",
            Some(2),
            unquoted::<7>,
            |it| boot_of(it).secure_boot = Some(false),
        ),
        case(
            "boot.setup_mode",
            "setup_mode = false",
            "HM-POLICY-0103",
            Some(3),
            |it| boot_of(it).setup_mode = None,
            |it| boot_of(it).setup_mode = Some(true),
        ),
        case(
            "boot.audit_mode",
            "audit_mode = false",
            "HM-POLICY-0104",
            None,
            unquoted::<7>,
            |it| boot_of(it).audit_mode = Some(true),
        ),
        case(
            "boot.deployed_mode",
            "deployed_mode = true",
            "HM-POLICY-0105",
            None,
            |it| boot_of(it).deployed_mode = None,
            |it| boot_of(it).deployed_mode = Some(false),
        ),
        case(
            "boot.debug",
            "debug = false",
            "HM-POLICY-0106",
            None,
            unquoted::<7>,
            |it| boot_of(it).debug = Some(true),
        ),
        case(
            "boot.dma_protection",
            "dma_protection = true",
            "HM-POLICY-0107",
            None,
            unquoted::<7>,
            |it| boot_of(it).dma_protection_disabled = true,
        ),
        case(
            "boot.exit_boot_services",
            "exit_boot_services = true",
            "HM-POLICY-0108",
            None,
            unquoted::<5>,
            |it| boot_of(it).exit_boot_services = false,
        ),
        case(
            "boot.scrtm_versions",
            "scrtm_versions = [\"2022.11-6\"]",
            "HM-POLICY-0109",
            Some(1),
            unquoted::<0>,
            |it| boot_of(it).scrtm_version = Some("2021.01".into()),
        ),
        case(
            "boot.pk_certificates",
            &list("pk_certificates", &["a1"]),
            "HM-POLICY-0110",
            Some(3),
            |it| boot_of(it).pk = None,
            |it| boot_of(it).pk.as_mut().unwrap().certificates[0].sha256 = digest("ff"),
        ),
        case(
            "boot.kek_certificates",
            &list("kek_certificates", &["a2"]),
            "HM-POLICY-0111",
            None,
            unquoted::<7>,
            |it| boot_of(it).kek.as_mut().unwrap().certificates.clear(),
        ),
        case(
            "boot.db_certificates",
            &list("db_certificates", &["a3"]),
            "HM-POLICY-0112",
            Some(4),
            unquoted::<7>,
            |it| {
                let db = boot_of(it).db.as_mut().unwrap();
                let mut foreign = db.certificates[0].clone();
                foreign.sha256 = digest("ff");
                db.certificates.push(foreign);
            },
        ),
        case(
            "boot.db_certificates",
            &list("db_certificates", &["a3"]),
            "HM-POLICY-0112",
            Some(4),
            unquoted::<7>,
            |it| boot_of(it).db.as_mut().unwrap().hashes = 1,
        ),
        case(
            "boot.dbx_at_least",
            &list("dbx_at_least", &["e1", "e2"]),
            "HM-POLICY-0113",
            Some(5),
            |it| boot_of(it).dbx = None,
            |it| {
                boot_of(it).dbx_hashes.remove(&digest("e2"));
            },
        ),
        case(
            "boot.sbat_at_least",
            "sbat_at_least = 2023012900",
            "HM-POLICY-0115",
            None,
            |it| boot_of(it).sbat_level = None,
            |it| boot_of(it).sbat_level = Some("sbat,1,2022052400\n".into()),
        ),
        case(
            "boot.sbat_at_least",
            "sbat_at_least = 2023012900",
            "HM-POLICY-0115",
            None,
            unquoted::<7>,
            |it| boot_of(it).sbat_level = Some("sbat,1\n".into()),
        ),
        case(
            "boot.signed_by",
            &list("signed_by", &["a3"]),
            "HM-POLICY-0116",
            Some(7),
            unquoted::<7>,
            |it| boot_of(it).authorities[0].sha256 = digest("ff"),
        ),
        case(
            "boot.signed_by",
            &list("signed_by", &["a3"]),
            "HM-POLICY-0116",
            None,
            |it| it.boot = None,
            |it| boot_of(it).authorities.clear(),
        ),
        case(
            "boot.signed_by",
            &list("signed_by", &["a3"]),
            "HM-POLICY-0116",
            Some(2),
            unquoted::<7>,
            |it| boot_of(it).secure_boot = Some(false),
        ),
        case(
            "boot.images",
            &list("images", &["b1", "b2"]),
            "HM-POLICY-0117",
            None,
            unquoted::<4>,
            |it| boot_of(it).images[1].sha256 = digest("ff"),
        ),
        case(
            "boot.images",
            &list("images", &["b1", "b2"]),
            "HM-POLICY-0117",
            None,
            unquoted::<2>,
            |it| boot_of(it).images.clear(),
        ),
        case(
            "boot.images",
            &list("images", &["b2", "b3"]),
            "HM-POLICY-0117",
            Some(8),
            unquoted::<4>,
            |_| (),
        ),
        case(
            "boot.option_roms_at_most",
            "option_roms_at_most = 1",
            "HM-POLICY-0118",
            Some(6),
            unquoted::<2>,
            |it| boot_of(it).option_roms = 2,
        ),
        case(
            "boot.gpt",
            &list("gpt", &["c1"]),
            "HM-POLICY-0119",
            None,
            |it| boot_of(it).gpt = None,
            |it| boot_of(it).gpt = Some(digest("ff")),
        ),
        case(
            "boot.grub",
            "grub = [\"set root=*\", \"linux /vmlinuz ro\"]",
            "HM-POLICY-0120",
            None,
            unquoted::<8>,
            |it| boot_of(it).grub.push("linux /vmlinuz ro init=/bin/sh".into()),
        ),
        case(
            "boot.grub",
            "grub = [\"set root=*\", \"linux /vmlinuz ro\"]",
            "HM-POLICY-0120",
            None,
            unquoted::<9>,
            |it| boot_of(it).grub.clear(),
        ),
        case(
            "boot.mok",
            "mok = \"none\"",
            "HM-POLICY-0121",
            Some(10),
            unquoted::<14>,
            |it| enrol(it, "aa"),
        ),
        case(
            "boot.uki.linux",
            &format!("[boot.uki]\n{}", list("linux", &["f1"])),
            "HM-POLICY-0122",
            None,
            unquoted::<11>,
            |it| {
                boot_of(it).uki_sections.insert(".linux".into(), digest("ff"));
            },
        ),
        case(
            "boot.uki.initrd",
            &format!("[boot.uki]\n{}", list("initrd", &["f2"])),
            "HM-POLICY-0122",
            None,
            |it| boot_of(it).uki_sections.clear(),
            |it| {
                boot_of(it).uki_sections.insert(".initrd".into(), digest("ff"));
            },
        ),
        case(
            "boot.phases",
            "phases = [\"ready\"]",
            "HM-POLICY-0123",
            None,
            |it| boot_of(it).phases.clear(),
            |it| {
                boot_of(it).phases.pop();
            },
        ),
        case(
            "boot.command_lines",
            "command_lines = [\"root=/dev/* ro quiet\"]",
            "HM-POLICY-0124",
            None,
            |it| boot_of(it).command_line = None,
            |it| boot_of(it).command_line = Some("root=/dev/vda2 ro quiet init=/bin/sh".into()),
        ),
        case(
            "boot.pcrs.12",
            "[boot.pcrs]\n12 = \"zero\"",
            "HM-POLICY-0125",
            None,
            unquoted::<12>,
            |it| {
                it.pcrs.insert("sha256:12".into(), digest("0c"));
            },
        ),
        case(
            "boot.pcrs.11",
            &format!("[boot.pcrs]\n{}", list("11", &["b1", "ff"])),
            "HM-POLICY-0125",
            None,
            unquoted::<11>,
            |it| {
                it.pcrs.insert("sha256:11".into(), digest("ee"));
            },
        ),
        case(
            "boot.pcrs.4",
            &format!("[boot.pcrs]\n{}", list("4", &["41"])),
            "HM-POLICY-0125",
            Some(8),
            unquoted::<4>,
            |it| {
                it.pcrs.insert("sha256:4".into(), digest("ee"));
            },
        ),
    ]
}

fn about<'a>(reasons: &'a [Reason], key: &str) -> &'a Reason {
    reasons
        .iter()
        .find(|reason| reason.rule == key)
        .unwrap_or_else(|| panic!("no reason of {key}"))
}

#[test]
fn every_rule_holds_for_the_good_machine_and_names_what_is_wrong_with_another() {
    for case in cases() {
        let stricter_than_good = case.rule.contains("b3b3");
        if !stricter_than_good {
            let held = judge(&case.rule, &good());
            assert!(held.is_trusted(), "{}: {:?}", case.rule, held.refusal());
            let reason = about(held.reasons(), case.key);
            assert!(reason.holds && reason.compared.is_none() && reason.first_event.is_none());
        }
        let result = judge(&case.rule, &spoiled(case.spoil));
        assert_eq!(code(&result), Some(case.code), "{}", case.rule);
        let reason = about(result.reasons(), case.key);
        assert!(!reason.holds && reason.policy == "p", "{reason:?}");
        let (expected, actual) = (reason.expected.as_ref().unwrap(), reason.actual.as_ref().unwrap());
        assert!(!expected.is_empty() && !actual.is_empty(), "{reason:?}");
        let number = reason.first_event.as_ref().map(|event| event.number);
        if case.key != "boot.required" {
            assert_eq!(number, case.event, "{}: {:?}", case.rule, reason);
        }
    }
}

#[test]
fn a_rule_over_what_is_not_proven_never_holds() {
    for case in cases() {
        for hide in [case.hide, |it: &mut MachineFacts| it.boot = None] {
            let registers_alone = case.key.starts_with("boot.pcrs");
            let machine = spoiled(hide);
            if registers_alone && machine.boot.is_none() {
                continue;
            }
            let result = judge(&case.rule, &machine);
            let reason = about(result.reasons(), case.key);
            assert!(!reason.holds, "{}", case.rule);
            assert!(
                reason.text.starts_with("not proven: "),
                "{}: {}",
                case.rule,
                reason.text
            );
            assert!(!result.is_trusted());
        }
    }
}

#[test]
fn the_codes_of_the_table_are_every_code_of_boot_rules_but_those_of_baselines() {
    let mut tested: Vec<_> = cases().iter().map(|case| case.code).collect();
    tested.sort_unstable();
    tested.dedup();
    let expected: Vec<_> = (101..=127)
        .filter(|number| ![114, 126].contains(number))
        .map(|number| format!("HM-POLICY-0{number}"))
        .collect();
    assert_eq!(tested, expected);
}

#[test]
fn the_wanted_state_can_be_the_other_one() {
    let off = spoiled(|it| boot_of(it).secure_boot = Some(false));
    assert!(judge("[boot]\nsecure_boot = false", &off).is_trusted());
    assert_eq!(
        code(&judge("[boot]\nsecure_boot = false", &good())),
        Some("HM-POLICY-0102")
    );
    let line = format!("[boot]\nmok = [\"{}\"]", digest("aa"));
    let enrolled = spoiled(|it| enrol(it, "aa"));
    let another = spoiled(|it| {
        enrol(it, "aa");
        enrol(it, "bb");
    });
    assert!(judge(&line, &enrolled).is_trusted());
    assert_eq!(code(&judge(&line, &good())), Some("HM-POLICY-0121"));
    assert_eq!(code(&judge(&line, &another)), Some("HM-POLICY-0121"));
}

#[test]
fn a_register_is_judged_in_every_bank_that_the_rule_can_speak_of() {
    let two_banks = |value: String| {
        spoiled(|it| {
            it.pcrs.insert("sha384:12".into(), value);
        })
    };
    assert!(judge("[boot.pcrs]\n12 = \"zero\"", &two_banks("0".repeat(96))).is_trusted());
    let moved = two_banks("1".repeat(96));
    assert_eq!(
        code(&judge("[boot.pcrs]\n12 = \"zero\"", &moved)),
        Some("HM-POLICY-0125")
    );
    // A list of SHA-256 values says nothing of another bank, and a quote in that bank alone proves nothing of it.
    let rule = format!("[boot.pcrs]\n11 = [\"{}\"]", digest("b1"));
    let only_384 = spoiled(|it| {
        let value = it.pcrs.remove("sha256:11").unwrap();
        it.pcrs.insert("sha384:11".into(), value.repeat(2)[..96].to_owned());
    });
    assert!(judge(&rule, &good()).is_trusted());
    assert!(
        judge(&rule, &only_384)
            .refusal()
            .unwrap()
            .text
            .starts_with("not proven")
    );
}

#[test]
fn rules_over_the_tpm_and_its_quote() {
    let cases: [(&str, &str, Spoil); 8] = [
        ("classes = [\"discrete\"]", "HM-POLICY-0002", |it| {
            it.tpm.class = "virtual".into()
        }),
        ("denied_manufacturers = [\"ID:494E5443\"]", "HM-POLICY-0004", |it| {
            it.tpm.certificate.as_mut().unwrap().manufacturer = "id:494e5443".into()
        }),
        ("denied_manufacturers = [\"id:494E5443\"]", "HM-POLICY-0004", |it| {
            it.tpm.certificate = None
        }),
        ("denied_models = [\"st33\"]", "HM-POLICY-0005", |it| {
            it.tpm.certificate.as_mut().unwrap().model = "ST33".into()
        }),
        ("denied_firmware = [\"0000000000070001\"]", "HM-POLICY-0006", |it| {
            it.tpm.firmware_version = 0x0007_0001
        }),
        ("firmware_at_least = \"70050\"", "HM-POLICY-0007", |it| {
            it.tpm.firmware_version = 0x0007_0049
        }),
        ("clock_safe = true", "HM-POLICY-0008", |it| it.quote_clock.safe = false),
        ("max_quote_age = \"1m\"", "HM-POLICY-0009", |it| {
            it.quote_clock.seen_at -= 1000
        }),
    ];
    for (rule, code_of, spoil) in cases {
        let rule = format!("[tpm]\n{rule}");
        let held = judge(&rule, &good());
        assert!(held.is_trusted(), "{rule}: {:?}", held.refusal());
        assert_eq!(code(&judge(&rule, &spoiled(spoil))), Some(code_of), "{rule}");
    }
    let denied = format!("[tpm]\ndenied_eks = [\"{}\"]", digest("5E"));
    assert_eq!(code(&judge(&denied, &good())), Some("HM-POLICY-0003"));
}
