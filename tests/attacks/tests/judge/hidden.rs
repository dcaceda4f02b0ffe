//! Attack 38: data beside a digest that is not its own, and what hides behind it.

use hallmark_evidence::tcg::EventKind;

use crate::events::{Event, Events, variable};
use crate::scene::{Scene, verdict};

fn sb_on() -> Events {
    Events::recorded("sb-on")
}

/// A boot by GRUB with these command lines; each was measured without its label.
fn grub(lines: &[(&str, &str)]) -> Events {
    lines.iter().fold(sb_on(), |events, (label, text)| {
        let place = events.list.len();
        events.then(8, EventKind::IPL, text.as_bytes()).forged(place, |event| {
            event.data = format!("{label}{text}\0").into_bytes();
        })
    })
}

/// The same machine; the forger writes its log, and measured what is appended.
fn both(
    measured: &Events,
    appended: &[(u32, EventKind, &str, &str)],
    forge: impl FnOnce(Events) -> Events,
) -> [Events; 2] {
    let append = |events: Events| {
        appended.iter().fold(events, |events, (pcr, kind, label, text)| {
            let place = events.list.len();
            events.then(*pcr, *kind, text.as_bytes()).forged(place, |event| {
                if !label.is_empty() {
                    event.data = format!("{label}{text}\0").into_bytes();
                }
            })
        })
    };
    [append(measured.clone()), append(forge(measured.clone()))]
}

fn shown(rules: &str, [measured, shown]: &[Events; 2]) -> String {
    Scene::under(rules).verdict(&measured.logs(), &shown.logs())
}

fn blur(event: &mut Event) {
    event.data = b"something else".to_vec();
}

#[test]
fn attack_38_a_good_value_beside_a_bad_values_digest() {
    let rules = "[boot]\nsecure_boot = true";
    assert_eq!(verdict(rules, &sb_on().logs()), "trusted");
    let off = Events::recorded("base");
    let place = off.variable("SecureBoot");
    let lie = off
        .clone()
        .forged(place, |event| event.data = variable("SecureBoot", &[1]));
    assert_eq!(shown(rules, &[off, lie]), "HM-POLICY-0102");
    // The digest of the strong bank is true, that of the weak one is the lie's.
    let mut lie = Events::recorded("base");
    let good = lie.clone().setting("SecureBoot", &[1]).list[place].clone();
    lie.list[place].data = good.data;
    lie.list[place].digests[0] = good.digests[0].clone();
    assert_eq!(shown(rules, &[Events::recorded("base"), lie]), "HM-POLICY-0102");
}

/// The true event is made unreadable, and a program measures a good one behind it.
#[test]
fn attack_38_a_version_of_the_firmware_that_a_program_measured() {
    let version = |events: &Events| events.place(|event| event.kind == EventKind::S_CRTM_VERSION);
    let rules = "[boot]\nscrtm_versions = [\"2\"]";
    let good = sb_on().measuring(version(&sb_on()), &[b'2', 0, 0, 0]);
    assert_eq!(verdict(rules, &good.logs()), "trusted");
    let later = [(0, EventKind::S_CRTM_VERSION, "", "2\0\0\0")];
    let place = version(&sb_on());
    let forgeries: [fn(&mut Event); 3] = [
        |event| event.kind = EventKind::POST_CODE,
        |event| event.kind = EventKind::ACTION,
        blur,
    ];
    for forge in forgeries {
        let [measured, shown] = both(&sb_on(), &later, |events| events.forged(place, forge));
        assert_eq!(
            Scene::under(rules).verdict(&measured.logs(), &shown.logs()),
            "HM-POLICY-0109"
        );
    }
}

#[test]
fn attack_38_a_partition_table_that_a_program_measured() {
    let events = sb_on();
    let place = events.place(|event| event.kind == EventKind::EFI_GPT_EVENT);
    let table = hex::encode(&events.list[place].digests[1].1);
    let rules = format!("[boot]\ngpt = [\"{table}\"]");
    assert_eq!(verdict(&rules, &events.logs()), "trusted");
    let good = String::from_utf8_lossy(&events.list[place].data).into_owned();
    let other = events.clone().measuring(place, b"EFI PARTanother disk");
    assert_eq!(verdict(&rules, &other.logs()), "HM-POLICY-0119");
    // The recorded table is bytes, not text: it is appended as it is.
    assert!(!good.is_empty());
    let appended = |events: Events| events.then(5, EventKind::EFI_GPT_EVENT, &sb_on().list[place].data);
    let pair = [appended(other.clone()), appended(other.forged(place, blur))];
    assert_eq!(shown(&rules, &pair), "HM-POLICY-0119");
}

#[test]
fn attack_38_a_revocation_level_that_a_program_measured() {
    let rules = "[boot]\nsbat_at_least = 2023012900";
    let level = |text: &str| variable("SbatLevel", text.as_bytes());
    let shim = |text: &str| sb_on().then(7, EventKind::EFI_VARIABLE_AUTHORITY, &level(text));
    let (good, old) = (shim("sbat,1,2023012900\n"), shim("sbat,1,2021030218\n"));
    assert_eq!(verdict(rules, &good.logs()), "trusted");
    assert_eq!(verdict(rules, &old.logs()), "HM-POLICY-0115");
    let later = |events: Events| events.then(7, EventKind::EFI_VARIABLE_AUTHORITY, &level("sbat,1,2023012900\n"));
    assert_eq!(verdict(rules, &later(old.clone()).logs()), "HM-POLICY-0115");
    let place = old.list.len() - 1;
    let pair = [later(old.clone()), later(old.forged(place, blur))];
    assert_eq!(shown(rules, &pair), "HM-POLICY-0115");
}

#[test]
fn attack_38_a_command_line_that_a_program_measured() {
    let (good, evil) = ("/vmlinuz root=/dev/sda1 ro", "/vmlinuz root=/dev/sda1 ro init=/bin/sh");
    let rules = format!("[boot]\ncommand_lines = [\"{good}\"]");
    let command = |line: &str| format!("linux {line}");
    let boot = |line: &str| grub(&[("grub_cmd: ", &command(line)), ("kernel_cmdline: ", line)]);
    assert_eq!(verdict(&rules, &boot(good).logs()), "trusted");
    assert_eq!(verdict(&rules, &boot(evil).logs()), "HM-POLICY-0124");
    let place = boot(evil).list.len() - 1;
    let later = [
        (8, EventKind::IPL, "grub_cmd: ", "linux /vmlinuz root=/dev/sda1 ro"),
        (8, EventKind::IPL, "kernel_cmdline: ", good),
    ];
    // The true line is unreadable, or called a command; both lines are there.
    let relabel = |event: &mut Event| event.data = format!("grub_cmd: {evil}\0").into_bytes();
    assert_eq!(
        shown(&rules, &both(&boot(evil), &later, |events| events.forged(place, blur))),
        "HM-POLICY-0124"
    );
    assert_eq!(
        shown(
            &rules,
            &both(&boot(evil), &later, |events| events.forged(place, relabel))
        ),
        "HM-POLICY-0124"
    );
    assert_eq!(
        shown(&rules, &both(&boot(evil), &later, |events| events)),
        "HM-POLICY-0124"
    );
    // An override of an image, hidden in the same way.
    let image = sb_on().then(12, EventKind::IPL, evil.as_bytes());
    let place = image.list.len() - 1;
    let later = [(12, EventKind::IPL, "", good)];
    assert_eq!(
        verdict(&rules, &sb_on().then(12, EventKind::IPL, good.as_bytes()).logs()),
        "trusted"
    );
    let forgeries: [fn(&mut Event); 2] = [blur, |event| event.kind = EventKind::EVENT_TAG];
    for forge in forgeries {
        assert_eq!(
            shown(&rules, &both(&image, &later, |events| events.forged(place, forge))),
            "HM-POLICY-0124"
        );
    }
}

#[test]
fn attack_38_a_command_of_grub_that_the_log_hides() {
    let rules = "[boot]\ngrub = [\"linux /vmlinuz ro\", \"/vmlinuz ro\", \"set *\"]";
    let good = [("grub_cmd: ", "linux /vmlinuz ro"), ("kernel_cmdline: ", "/vmlinuz ro")];
    assert_eq!(verdict(rules, &grub(&good).logs()), "trusted");
    let typed = grub(&[good[0], ("grub_cmd: ", "insmod /evil"), good[1]]);
    assert_eq!(verdict(rules, &typed.logs()), "HM-POLICY-0120");
    let place = typed.list.len() - 2;
    let forgeries: [fn(&mut Event); 3] = [
        blur,
        |event| event.kind = EventKind::POST_CODE,
        |event| event.data = b"grub_cmd: set x\0".to_vec(),
    ];
    for forge in forgeries {
        let hidden = typed.clone().forged(place, forge);
        assert_eq!(shown(rules, &[typed.clone(), hidden]), "HM-POLICY-0120");
    }
}
