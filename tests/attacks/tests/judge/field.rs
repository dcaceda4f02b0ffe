//! Attacks 38, 40, 44 and 45 under the cover of what machines in the field measure: behind the firmware's end, by shim, by
//! systemd. What passes as theirs is exact in its content; a label decides nothing.

use hallmark_evidence::anchor::{AnchorFile, Anchors};
use hallmark_evidence::tcg::EventKind;
use hallmark_evidence::tcg::efi::SHIM_LOCK;
use hallmark_tpm_wire::HashAlg;

use crate::events::{Event, Events, variable};
use crate::scene::{Logs, Scene, user_space, vector, verdict};

const CONSISTENT: &str = "[boot]\nconsistent = true";

fn sb_on() -> Events {
    Events::recorded("sb-on")
}

fn certificate(name: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(&vector(name)).unwrap().1.contents
}

fn signed_by(certificate: &[u8]) -> String {
    let digest = hex::encode(HashAlg::Sha256.digest(certificate));
    format!("[boot]\nsigned_by = [\"{digest}\"]")
}

/// A variable of the shim.
fn of_shim(name: &str, data: &[u8]) -> Vec<u8> {
    let mut variable = variable(name, data);
    variable[..16].copy_from_slice(&SHIM_LOCK);
    variable
}

fn shim(events: Events, name: &str, data: &[u8]) -> Events {
    events.then(7, EventKind::EFI_VARIABLE_AUTHORITY, &of_shim(name, data))
}

/// What the refusal says.
fn told(rules: &str, logs: &Logs) -> String {
    let appraisal = Scene::under(rules).show(logs, logs).unwrap();
    let reason = appraisal.refusal().expect("refused").clone();
    format!(
        "{} {} {:?} {:?}",
        reason.code, reason.text, reason.compared, reason.first_event
    )
}

#[test]
fn attack_44_shim_that_was_told_to_verify_nothing() {
    let rules = signed_by(&certificate("db.crt"));
    assert_eq!(verdict(&rules, &sb_on().logs()), "trusted");
    for (name, off) in [("MokSBState", &[0][..]), ("MokDBState", &[0]), ("MokListTrusted", &[1])] {
        assert_eq!(verdict(&rules, &shim(sb_on(), name, off).logs()), "trusted", "{name}");
    }
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let with_nothing = rules.replace("[\"", &format!("[\"{nothing}\", \""));
    for name in ["MokSBState", "MokDBState"] {
        for on in [&[1][..], &[2], &[0, 0], &[]] {
            let open = shim(sb_on(), name, on);
            let told = told(&rules, &open.logs());
            assert!(told.starts_with("HM-POLICY-0116") && told.contains(name), "{told}");
            assert!(!told.contains(nothing), "no advice to list it: {told}");
            // Nor would listing it help.
            assert_eq!(verdict(&with_nothing, &open.logs()), "HM-POLICY-0116", "{name} {on:?}");
            // What a program measures later does not switch it off.
            assert_eq!(
                verdict(&rules, &shim(open.clone(), name, &[0]).logs()),
                "HM-POLICY-0116"
            );
            // It can be hidden, and not without a trace.
            let place = open.list.len() - 1;
            let forgeries: [fn(&mut Event); 3] = [
                |event| event.data = of_shim("MokSBState", &[0]),
                |event| event.data = of_shim("MokListTrusted", &[1]),
                |event| event.kind = EventKind::EFI_ACTION,
            ];
            for forge in forgeries {
                let forged = open.clone().forged(place, forge);
                let code = Scene::under(&rules).verdict(&open.logs(), &forged.logs());
                assert_eq!(code, "HM-POLICY-0116", "{name} {on:?}");
            }
        }
    }
    // A variable of one byte that is none of them vouches for nobody.
    for name in ["MokSBStateRT", "SecureBoot", "db"] {
        let odd = shim(sb_on(), name, &[1]);
        assert_eq!(verdict(&with_nothing, &odd.logs()), "HM-POLICY-0116", "{name}");
        assert_eq!(verdict(CONSISTENT, &odd.logs()), "HM-POLICY-0127", "{name}");
    }
}

#[test]
fn attack_38_a_certificate_that_stands_for_another() {
    let (own, rogue) = (certificate("db.crt"), certificate("rogue.crt"));
    let rules = signed_by(&own);
    let by = |data: &[u8]| shim(sb_on(), "Shim", data);
    // With its owner before it, and bare.
    let owned = |certificate: &[u8]| [&[7; 16][..], certificate].concat();
    for good in [own.clone(), owned(&own)] {
        assert_eq!(verdict(&rules, &by(&good).logs()), "trusted");
    }
    for bad in [rogue.clone(), owned(&rogue)] {
        assert_eq!(verdict(&rules, &by(&bad).logs()), "HM-POLICY-0116");
    }
    // One SEQUENCE around the listed certificate, so that it reads both ways; cut; with something behind it.
    let length = u16::try_from(own.len() + 12).unwrap().to_be_bytes();
    let both_ways = [&[0x30, 0x82][..], &length, &[0x04, 10], &[0; 10], &own].concat();
    for odd in [
        both_ways,
        own[..own.len() - 1].to_vec(),
        [&own[..], &[0]].concat(),
        owned(&[]),
        [0x30, 0x80].to_vec(),
        Vec::new(),
    ] {
        assert_eq!(verdict(&rules, &by(&odd).logs()), "HM-POLICY-0116", "{odd:02x?}");
        assert_eq!(verdict(CONSISTENT, &by(&odd).logs()), "HM-POLICY-0127", "{odd:02x?}");
    }
    // What the log has behind a variable is not measured, and stands for nothing.
    let place = sb_on().list.len();
    let foreign = by(&rogue);
    for behind in [&[0xaf][..], &[0, 0, 0xaf], &own] {
        let more = foreign.clone().forged(place, |event| event.data.extend(behind));
        assert_eq!(
            Scene::under(&rules).verdict(&foreign.logs(), &more.logs()),
            "HM-POLICY-0116"
        );
        let more = by(&own).forged(place, |event| event.data.extend(behind));
        assert_eq!(Scene::under(&rules).verdict(&by(&own).logs(), &more.logs()), "trusted");
    }
    let lie = foreign
        .clone()
        .forged(place, |event| event.data = [of_shim("Shim", &own), vec![0]].concat());
    assert_eq!(
        Scene::under(&rules).verdict(&foreign.logs(), &lie.logs()),
        "HM-POLICY-0116"
    );
}

/// What was measured, under another type and text.
fn called(measured: &Events, kind: EventKind, data: &[u8]) -> Events {
    measured.clone().forged(measured.list.len() - 1, |event| {
        event.kind = kind;
        event.data = data.to_vec();
    })
}

#[test]
fn attack_40_a_program_measures_under_the_firmwares_name() {
    let boot_order = variable("BootOrder", &[1, 0]);
    let honest = [
        (1, EventKind::EFI_VARIABLE_BOOT, boot_order.clone()),
        (1, EventKind::EFI_VARIABLE_BOOT2, variable("Boot00AF", &[1, 0, 0, 0])),
        (1, EventKind::PLATFORM_CONFIG_FLAGS, b"FeatureTME=1".to_vec()),
        (1, EventKind::EFI_VARIABLE_DRIVER_CONFIG, variable("DeployedMode", &[1])),
        (1, EventKind::EFI_VARIABLE_DRIVER_CONFIG, variable("AuditMode", &[0])),
        (2, EventKind(0x8401), vec![1]),
    ];
    for (pcr, kind, data) in &honest {
        assert_eq!(
            verdict(CONSISTENT, &sb_on().then(*pcr, *kind, data).logs()),
            "trusted",
            "{kind}"
        );
        // In a register where no firmware does this it is a program's.
        for other in [0, 1, 2, 3, 6].iter().filter(|other| *other != pcr) {
            let elsewhere = sb_on().then(*other, *kind, data);
            assert_eq!(
                verdict(CONSISTENT, &elsewhere.logs()),
                "HM-POLICY-0127",
                "{kind} {other}"
            );
        }
    }
    // A mode in which every image runs is nothing to let pass.
    let audit = sb_on().then(1, EventKind::EFI_VARIABLE_DRIVER_CONFIG, &variable("AuditMode", &[1]));
    assert_eq!(verdict(CONSISTENT, &audit.logs()), "HM-POLICY-0127");
    let tables = [&1_u64.to_le_bytes()[..], &[0x44; 16], &[0; 8]].concat();
    for (pcr, kind, text) in [
        (1, EventKind::EFI_VARIABLE_BOOT, boot_order),
        (1, EventKind::EFI_VARIABLE_BOOT, variable("Other", &[1])),
        (1, EventKind::EFI_HANDOFF_TABLES, tables.clone()),
        (1, EventKind::EFI_HANDOFF_TABLES2, tables),
        (1, EventKind::PLATFORM_CONFIG_FLAGS, b"FeatureTME=1".to_vec()),
        (1, EventKind::PLATFORM_CONFIG_FLAGS, b"evil".to_vec()),
        (
            1,
            EventKind::EVENT_TAG,
            [&[0xbc, 0x7c, 0xcb, 0xd5, 6, 0, 0, 0][..], b"smbios"].concat(),
        ),
        (2, EventKind(0x8401), vec![1]),
        (
            0,
            EventKind::S_CRTM_CONTENTS,
            b"FIT Type 0x2D Measured S-CRTM\0".to_vec(),
        ),
    ] {
        let measured = sb_on().then(pcr, EventKind::IPL, b"evil");
        let shown = called(&measured, kind, &text);
        let code = Scene::under(CONSISTENT).verdict(&measured.logs(), &shown.logs());
        assert_eq!(code, "HM-POLICY-0127", "{kind}");
    }
    // What is known of firmware does not stand in front of what is not.
    let both = called(
        &sb_on().then(1, EventKind::IPL, b"tables"),
        EventKind::EFI_HANDOFF_TABLES,
        b"",
    );
    let both = both.then(3, EventKind::IPL, b"evil");
    let told = told(CONSISTENT, &both.logs());
    assert!(told.contains("pcr: 3") && !told.contains("Lenovo"), "{told}");
    // A driver is one, whatever type it is given.
    let driver = called(&sb_on().then(2, EventKind::IPL, b"a driver"), EventKind(0x8401), &[1]);
    let roms = "[boot]\noption_roms_at_most = 0";
    assert_eq!(
        verdict(roms, &sb_on().then(2, EventKind(0x8401), &[1]).logs()),
        "trusted"
    );
    assert_eq!(verdict(roms, &driver.logs()), "HM-POLICY-0118");
}

/// The true end of PCR 0 passes for an empty FIT entry, and behind it a program measures another version and an end.
#[test]
fn attack_38_a_second_end_of_the_firmwares_register() {
    let version = |events: &Events| events.place(|event| event.kind == EventKind::S_CRTM_VERSION);
    let rules = "[boot]\nscrtm_versions = [\"2\"]";
    let good = sb_on().measuring(version(&sb_on()), &[b'2', 0, 0, 0]);
    assert_eq!(verdict(rules, &good.logs()), "trusted");
    let end = sb_on().place(|event| event.pcr == 0 && event.kind == EventKind::SEPARATOR);
    let measured = sb_on()
        .then(0, EventKind::S_CRTM_VERSION, &[b'2', 0, 0, 0])
        .then(0, EventKind::SEPARATOR, &[0; 4]);
    let forge = |place: usize, text: &'static [u8]| {
        move |events: Events| {
            events.forged(place, |event| {
                event.kind = EventKind::S_CRTM_CONTENTS;
                event.data = text.to_vec();
            })
        }
    };
    let shown = forge(end, b"FIT Type 0x2D Measured S-CRTM\0")(measured.clone());
    let shown = forge(version(&sb_on()), b"FIT Type 0x02 Measured S-CRTM\0")(shown);
    for (rules, code) in [(rules, "HM-POLICY-0109"), (CONSISTENT, "HM-POLICY-0127")] {
        assert_eq!(Scene::under(rules).verdict(&measured.logs(), &shown.logs()), code);
    }
}

const SEPARATED: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14];

/// A boot with systemd's own words behind it.
fn systemd(words: &[(u8, &str)]) -> Logs {
    Logs {
        systemd: user_space(words),
        ..sb_on().logs()
    }
}

#[test]
fn attack_45_what_passes_for_systemds_separator() {
    let command_line = String::from_utf8(vector("sb-on/cmdline")).unwrap();
    let rules = [
        "[boot.pcrs]\n12 = \"zero\"\n13 = \"zero\"\n14 = \"zero\"".to_owned(),
        "[boot]\nmok = \"none\"".to_owned(),
        CONSISTENT.to_owned(),
        format!("[boot]\ncommand_lines = [\"{}\"]", command_line.trim_end()),
        signed_by(&certificate("db.crt")),
    ];
    let separated: Vec<_> = SEPARATED.iter().map(|pcr| (*pcr, "os-separator")).collect();
    for rules in &rules {
        assert_eq!(verdict(rules, &sb_on().logs()), "trusted", "{rules}");
        assert_eq!(verdict(rules, &systemd(&separated)), "trusted", "{rules}");
    }
    let honest = systemd(&separated);
    for (pcr, rules, code) in [
        (12, &rules[0], "HM-POLICY-0125"),
        (13, &rules[0], "HM-POLICY-0125"),
        (14, &rules[1], "HM-POLICY-0121"),
        (12, &rules[3], "HM-POLICY-0124"),
        (0, &rules[2], "HM-POLICY-0127"),
        (8, &rules[2], "HM-POLICY-0127"),
    ] {
        // Something else; and the same under the separator's name.
        let mut words = separated.clone();
        words.push((pcr, "evil"));
        let measured = systemd(&words);
        assert_eq!(verdict(rules, &measured), code, "PCR {pcr}");
        let text = String::from_utf8(measured.systemd.clone()).unwrap();
        let shown = Logs {
            systemd: text.replace("\"evil\"", "\"os-separator\"").into_bytes(),
            ..measured.clone()
        };
        assert_eq!(Scene::under(rules).verdict(&measured, &shown), code, "PCR {pcr}");
        assert_eq!(
            Scene::under(rules).verdict(&measured, &honest),
            "HM-VERIFY-0703",
            "PCR {pcr}"
        );
        for near in ["os-separator ", "OS-separator", "os-separator\\u0000"] {
            let mut words = separated.clone();
            words.push((pcr, near));
            assert_eq!(verdict(rules, &systemd(&words)), code, "PCR {pcr} {near}");
        }
    }
    // Where systemd measures none it is a program's.
    assert_eq!(verdict(CONSISTENT, &systemd(&[(8, "os-separator")])), "HM-POLICY-0127");
}

#[test]
fn attack_40_what_passes_for_systemds_nvpcrs() {
    let state = "dd".repeat(32);
    let first = format!("nvpcr-init:hardware:0x1d10200:sha256:{state}");
    let second = format!("nvpcr-init:login:0x1d10203:000b{state}");
    let set_up = [
        (9, first.as_str()),
        (9, second.as_str()),
        (9, "nvpcr-separator"),
        (9, "os-separator"),
    ];
    assert_eq!(verdict(CONSISTENT, &systemd(&set_up)), "trusted");
    let late = format!("nvpcr-init:login:0x1d10204:000b{state}");
    let cut = &first[..first.len() - 1];
    let spoiled = second.replace("000b", "0000");
    for evil in [
        "evil",
        "nvpcr-init",
        "nvpcr-init:",
        "nvpcr-separator ",
        cut,
        &late,
        &spoiled,
    ] {
        let words: Vec<_> = set_up.into_iter().chain([(9, evil)]).collect();
        assert_eq!(verdict(CONSISTENT, &systemd(&words)), "HM-POLICY-0127", "{evil}");
    }
    for pcr in [0, 7, 8] {
        assert_eq!(
            verdict(CONSISTENT, &systemd(&[(pcr, &first)])),
            "HM-POLICY-0127",
            "PCR {pcr}"
        );
    }
    // Another thing was measured than the log says.
    let measured = systemd(&[(9, "evil")]);
    let text = String::from_utf8(measured.systemd.clone()).unwrap();
    let shown = Logs {
        systemd: text.replace("\"evil\"", &format!("{first:?}")).into_bytes(),
        ..measured.clone()
    };
    assert_eq!(Scene::under(CONSISTENT).verdict(&measured, &shown), "HM-POLICY-0127");
}

const ANCHOR: &str = "nvpcr-anchor.60831444225341dc9bf4534be89fb4fa.cred";

fn anchors(contents: &[u8]) -> Anchors {
    Anchors::new(vec![AnchorFile::new(ANCHOR, contents.to_vec()).unwrap()]).unwrap()
}

/// A boot whose stub packed `measured` for credentials; the agent sends `sent` beside systemd's `words`.
fn with_credentials(measured: &[u8], sent: Option<&Anchors>, words: &[(u8, &str)]) -> Logs {
    let title: Vec<u8> = "Global credentials initrd\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let boot = called(&sb_on().then(12, EventKind::IPL, measured), EventKind::IPL, &title);
    let record = sent.map(Anchors::to_record).unwrap_or_default();
    Logs {
        systemd: [record, user_space(words)].concat(),
        ..boot.logs()
    }
}

/// systemd's own credential in PCR 12 is none of anybody's; another one under its name is, and so is one beside it.
#[test]
fn attack_45_what_passes_for_systemds_anchor() {
    let command_line = String::from_utf8(vector("sb-on/cmdline")).unwrap();
    let rules = [
        ("[boot.pcrs]\n12 = \"zero\"".to_owned(), "HM-POLICY-0125"),
        (
            format!("[boot]\ncommand_lines = [\"{}\"]", command_line.trim_end()),
            "HM-POLICY-0124",
        ),
    ];
    let own = anchors(b"sealed");
    let separator = [(12, "os-separator")];
    for (rules, code) in &rules {
        for words in [&[][..], &separator] {
            assert_eq!(
                verdict(rules, &with_credentials(&own.archive(), Some(&own), words)),
                "trusted"
            );
        }
        let two = Anchors::new(vec![
            AnchorFile::new(ANCHOR, b"sealed".to_vec()).unwrap(),
            AnchorFile::new("nvpcr-anchor.another.cred", b"sealed".to_vec()).unwrap(),
        ]);
        let two = two.unwrap();
        assert_eq!(
            verdict(rules, &with_credentials(&two.archive(), Some(&two), &separator)),
            "trusted"
        );
        // Another credential, by its name or beside the anchor; an anchor that was not sent, or is another one.
        let archive = own.archive();
        let named = String::from_utf8(archive.clone()).unwrap();
        let other_name = named.replace(
            "nvpcr-anchor.60831444225341dc9bf4534be89fb4fa",
            "fstab.extra.60831444225341dc9bf4534be89fb4fa",
        );
        for (measured, sent) in [
            (&b"070701evil"[..], Some(&own)),
            (other_name.as_bytes(), Some(&own)),
            (&[&archive[..], b"more"].concat(), Some(&own)),
            (&two.archive(), Some(&own)),
            (&archive, Some(&two)),
            (&archive, Some(&anchors(b"Sealed"))),
            (&archive, None),
        ] {
            assert_eq!(&verdict(rules, &with_credentials(measured, sent, &separator)), code);
        }
        // The anchor, and an override before or behind it.
        for order in [true, false] {
            let evil = |events: Events| events.then(12, EventKind::IPL, b"init=/bin/sh");
            let anchor = |events: Events| events.then(12, EventKind::IPL, &archive);
            let boot = if order {
                anchor(evil(sb_on()))
            } else {
                evil(anchor(sb_on()))
            };
            let logs = Logs {
                systemd: own.to_record(),
                ..boot.logs()
            };
            assert_eq!(&verdict(rules, &logs), code, "{order}");
        }
        let told = told(rules, &with_credentials(&archive, None, &[]));
        assert!(
            told.contains("NvPCR anchors") && told.contains("/run/credentials/@encrypted"),
            "{told}"
        );
    }
    // In another register it is no credential of the stub's.
    let elsewhere = Logs {
        systemd: own.to_record(),
        ..sb_on().then(13, EventKind::IPL, &own.archive()).logs()
    };
    assert_eq!(verdict("[boot.pcrs]\n13 = \"zero\"", &elsewhere), "HM-POLICY-0125");
}

#[test]
fn attack_45_a_baseline_holds_with_the_separator_and_nothing_else() {
    let [plain, separated, more, other] = [
        systemd(&[]),
        systemd(&[(7, "os-separator")]),
        systemd(&[(7, "os-separator"), (7, "evil")]),
        systemd(&[(7, "evil")]),
    ];
    let value = |logs: &Logs| Scene::new().show(logs, logs).unwrap().facts().pcrs["sha256:7"].clone();
    let rules = format!("[boot.pcrs]\n7 = [\"{}\"]", value(&plain));
    for good in [&plain, &separated] {
        assert_eq!(verdict(&rules, good), "trusted");
    }
    for bad in [&more, &other] {
        assert_eq!(verdict(&rules, bad), "HM-POLICY-0125");
    }
    let rules = format!("[boot.pcrs]\n7 = [\"{}\"]", value(&other));
    assert_eq!(verdict(&rules, &separated), "HM-POLICY-0125");
}
