//! Attacks 45 and 46: what was booted with the firmware's blessing, and how far the boot had come.

use hallmark_evidence::tcg::EventKind;
use hallmark_evidence::tcg::efi::SHIM_LOCK;
use hallmark_tpm_wire::HashAlg;

use crate::events::Events;
use crate::scene::{Logs, Scene, user_space, vector, verdict};

const ZERO: &str = "[boot.pcrs]\n12 = \"zero\"\n13 = \"zero\"";

/// The rule that only the command line and the parts of this recorded image boot.
fn image_of(boot: &str) -> String {
    let sections = Scene::new().show(&Logs::recorded(boot), &Logs::recorded(boot)).unwrap();
    let facts = &sections.facts().boot.as_ref().unwrap().facts;
    let section = |name: &str| format!("{} = [\"{}\"]", &name[1..], facts.uki_sections[name]);
    format!(
        "[boot.uki]\n{}\n{}\n{}",
        section(".linux"),
        section(".initrd"),
        section(".cmdline")
    )
}

/// What shim has for a list without entries: one hash of zeros, of its own.
fn empty_list() -> Vec<u8> {
    let kind = [
        0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28,
    ];
    let sizes = [76_u32, 0, 48].map(u32::to_le_bytes).concat();
    [&kind[..], &sizes, &SHIM_LOCK, &[0; 32]].concat()
}

#[test]
fn attack_45_a_key_that_somebody_enrolled_in_shim() {
    let rules = "[boot]\nmok = \"none\"";
    let boot = Events::recorded("sb-on");
    assert_eq!(verdict(rules, &boot.logs()), "trusted");
    for name in ["MokList", "MokListTrusted", "MokListX", "anything"] {
        let text = format!("{name}\0");
        let enrolled = boot.clone().then(14, EventKind::IPL, text.as_bytes());
        assert_eq!(verdict(rules, &enrolled.logs()), "HM-POLICY-0121", "{name}");
    }
    // What shim measures without any key is none: its stand-in for an empty list, and that the kernel may trust the list.
    let empty = empty_list();
    let without = boot
        .clone()
        .then(14, EventKind::IPL, &empty)
        .then(14, EventKind::IPL, &[1]);
    assert_eq!(verdict(rules, &without.logs()), "trusted");
    let vendors = without.clone().then(14, EventKind::IPL, b"MokList\0");
    assert_eq!(verdict(rules, &vendors.logs()), "HM-POLICY-0121");
    let known = hex::encode(HashAlg::Sha256.digest(b"MokList\0"));
    let and_vendors = format!("[boot]\nmok = [\"{known}\"]");
    assert_eq!(verdict(&and_vendors, &vendors.logs()), "trusted");
    assert_eq!(verdict(&and_vendors, &without.logs()), "HM-POLICY-0121");
    let listed = format!("[boot]\nmok = [\"{known}\"]");
    let own = boot.then(14, EventKind::IPL, b"MokList\0");
    assert_eq!(verdict(&listed, &own.logs()), "trusted");
    assert_eq!(
        verdict(&listed, &own.then(14, EventKind::IPL, b"another").logs()),
        "HM-POLICY-0121"
    );
}

#[test]
fn attack_45_another_command_line_or_initrd_in_the_image() {
    let text = String::from_utf8(vector("base/cmdline")).unwrap();
    let rules = format!("[boot]\ncommand_lines = [\"{}\"]", text.trim_end());
    assert_eq!(verdict(&rules, &Logs::recorded("base")), "trusted");
    assert_eq!(verdict(&rules, &Logs::recorded("cmdline")), "HM-POLICY-0124");
    let image = image_of("base");
    assert_eq!(verdict(&image, &Logs::recorded("base")), "trusted");
    for other in ["cmdline", "initrd"] {
        assert_eq!(verdict(&image, &Logs::recorded(other)), "HM-POLICY-0122", "{other}");
    }
    // The same with every register of the boot pinned, not the image's parts.
    let shell = format!("[boot]\ncommand_lines = [\"{}*\"]", text.split(' ').next().unwrap());
    let with_shell = Events::recorded("base").then(12, EventKind::IPL, b"console=ttyS0 init=/bin/sh");
    let exact = format!("[boot]\ncommand_lines = [\"{}\"]", text.trim_end());
    assert_eq!(verdict(&exact, &with_shell.logs()), "HM-POLICY-0124");
    // The control shows what a pattern lets in: it is the operator's to write.
    assert_eq!(verdict(&shell, &with_shell.logs()), "trusted");
}

#[test]
fn attack_45_what_was_given_to_the_image_beside_its_parts() {
    let boot = Events::recorded("sb-on");
    let image = image_of("sb-on");
    assert_eq!(verdict(ZERO, &boot.logs()), "trusted");
    let given = [
        ("an override", 12, &b"console=ttyS0 init=/bin/sh"[..]),
        ("a credential", 12, b"070701credential"),
        ("an add-on", 12, b"add-on\0"),
        ("a system extension", 13, b"070701sysext"),
    ];
    for (what, pcr, bytes) in given {
        let more = boot.clone().then(pcr, EventKind::EVENT_TAG, bytes);
        // PCR 11 does not move: the image's own parts are the good ones.
        assert_eq!(verdict(&image, &more.logs()), "trusted", "{what}");
        assert_eq!(verdict(ZERO, &more.logs()), "HM-POLICY-0125", "{what}");
        // It shows in the quote, so leaving it out of the log helps nobody.
        assert_eq!(
            Scene::under(ZERO).verdict(&more.logs(), &boot.logs()),
            "HM-VERIFY-0703",
            "{what}"
        );
    }
}

/// systemd's log of these phases.
fn phases(names: &[&str]) -> Vec<u8> {
    let words: Vec<_> = names.iter().map(|name| (11, *name)).collect();
    user_space(&words)
}

#[test]
fn attack_46_an_early_quote_in_the_place_of_a_ready_one() {
    let at = |names: &[&str]| Logs {
        systemd: phases(names),
        ..Events::recorded("sb-on").logs()
    };
    let whole = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
    let rules = "[boot]\nphases = [\"ready\"]";
    assert_eq!(verdict(rules, &at(&whole)), "trusted");
    for reached in 1..whole.len() {
        assert_eq!(verdict(rules, &at(&whole[..reached])), "HM-POLICY-0123", "{reached}");
        // The quote is early and the log is not, or the reverse.
        let mut scene = Scene::under(rules);
        assert_eq!(
            scene.verdict(&at(&whole[..reached]), &at(&whole)),
            "HM-VERIFY-0703",
            "{reached}"
        );
        assert_eq!(
            scene.verdict(&at(&whole), &at(&whole[..reached])),
            "HM-VERIFY-0703",
            "{reached}"
        );
    }
    assert_eq!(verdict(rules, &Events::recorded("sb-on").logs()), "HM-POLICY-0123");
    let alone = Logs {
        tcg: None,
        ..at(&whole)
    };
    assert_eq!(Scene::under(rules).verdict(&at(&whole), &alone), "HM-VERIFY-0701");
}
