//! Attacks 30, 36, 37, 39 to 41 and 44 on what the firmware measured.

use hallmark_evidence::tcg::EventKind;
use hallmark_tpm_wire::HashAlg;

use crate::events::{Events, variable};
use crate::scene::{Logs, Scene, vector, verdict};
use crate::writer::Writer;

const SECURE: &str = "[boot]\nsecure_boot = true";

pub(crate) fn sb_on() -> Events {
    Events::recorded("sb-on")
}

pub(crate) fn der(name: &str) -> Vec<u8> {
    let pem = vector(name);
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    pem.contents
}

pub(crate) fn sha256_of_pem(name: &str) -> String {
    hex::encode(HashAlg::Sha256.digest(&der(name)))
}

#[test]
fn attack_30_a_log_of_a_weak_or_absent_bank() {
    let mut scene = Scene::new();
    let good = Logs::recorded("sb-on");
    assert_eq!(scene.honest(&good), "trusted");
    let weak = Writer::new(&[HashAlg::Sha1]).event(7, EventKind::SEPARATOR, &[0; 4]);
    assert_eq!(scene.verdict(&good, &Logs::firmware(weak.bytes)), "HM-VERIFY-0702");
    // A bank that the firmware left alone, with or without a log of another one.
    let nothing = Logs::default();
    assert_eq!(scene.honest(&nothing), "HM-VERIFY-0514");
    assert_eq!(scene.verdict(&nothing, &good), "HM-VERIFY-0514");
}

#[test]
fn attack_36_what_is_measured_between_log_and_quote() {
    let mut scene = Scene::new();
    let read = sb_on();
    let quoted = read.clone().then(13, EventKind::IPL, b"an extension");
    // The log is older than the quote: the agent reads it again.
    assert_eq!(scene.verdict(&quoted.logs(), &read.logs()), "HM-VERIFY-0703");
    assert_eq!(scene.honest(&quoted.logs()), "trusted");
    assert_eq!(scene.honest(&read.logs()), "trusted");
}

#[test]
fn attack_37_another_type_for_what_was_measured() {
    let off = Events::recorded("base");
    let place = off.variable("SecureBoot");
    assert_eq!(verdict(SECURE, &sb_on().logs()), "trusted");
    for kind in [
        EventKind::ACTION,
        EventKind::IPL,
        EventKind::SEPARATOR,
        EventKind::EFI_VARIABLE_AUTHORITY,
        EventKind(0x7777),
    ] {
        let retyped = off.clone().forged(place, |event| event.kind = kind);
        assert_eq!(
            Scene::under(SECURE).verdict(&off.logs(), &retyped.logs()),
            "HM-POLICY-0102",
            "{kind}"
        );
    }
    // What was measured is called information, and information is called measured: neither replays.
    let unsaid = off.clone().forged(place, |event| event.kind = EventKind::NO_ACTION);
    assert_eq!(
        Scene::under(SECURE).verdict(&off.logs(), &unsaid.logs()),
        "HM-VERIFY-0703"
    );
    // A foreign image by another name is still an image.
    let image = hex::encode(
        &sb_on().list[sb_on().place(|event| event.kind == EventKind::EFI_BOOT_SERVICES_APPLICATION)].digests[1].1,
    );
    let rules = format!("[boot]\nimages = [\"{image}\"]");
    assert_eq!(verdict(&rules, &sb_on().logs()), "trusted");
    let place = off.place(|event| event.kind == EventKind::EFI_BOOT_SERVICES_APPLICATION);
    let hidden = off.clone().forged(place, |event| {
        event.kind = EventKind::EFI_ACTION;
        event.data = b"harmless".to_vec();
    });
    assert_eq!(
        Scene::under(&rules).verdict(&off.logs(), &hidden.logs()),
        "HM-POLICY-0117"
    );
}

#[test]
fn attack_39_a_log_that_leaves_something_out() {
    let mut scene = Scene::under(SECURE);
    let whole = Logs::recorded("sb-on");
    assert_eq!(scene.honest(&whole), "trusted");
    let bytes = whole.tcg.clone().unwrap();
    let mut shown = |tcg: Option<Vec<u8>>| {
        let shown = Logs { tcg, ..whole.clone() };
        scene.verdict(&whole, &shown)
    };
    assert_eq!(shown(Some(bytes[..bytes.len() - 7].to_vec())), "HM-EVID-0102");
    // Firmware without a log leaves an empty one: it proves nothing.
    assert_eq!(shown(Some(Vec::new())), "HM-POLICY-0101");
    // Without any log nothing is proven of the boot, and rules over it do not hold.
    assert_eq!(shown(None), "HM-POLICY-0101");
    let events = sb_on();
    for gone in 0..events.list.len() {
        let mut rest = events.clone();
        rest.list.remove(gone);
        assert_eq!(shown(rest.logs().tcg), "HM-VERIFY-0703", "event {gone}");
    }
    let mut rest = events.clone();
    rest.list.retain(|event| event.pcr != 7);
    assert_eq!(shown(rest.logs().tcg), "HM-VERIFY-0703", "PCR 7");
    let mut swapped = events.clone();
    let (first, second) = (events.variable("SecureBoot"), events.variable("PK"));
    swapped.list.swap(first, second);
    assert_eq!(shown(swapped.logs().tcg), "HM-VERIFY-0703", "swapped");
}

#[test]
fn attack_40_what_programs_add_to_the_firmwares_registers() {
    let off = Events::recorded("base");
    let good = sb_on().list[sb_on().variable("SecureBoot")].clone();
    // Root measures the good value, and writes the event that belongs to it.
    let added = off.clone().then(7, EventKind::EFI_VARIABLE_DRIVER_CONFIG, &good.data);
    assert_eq!(verdict(SECURE, &sb_on().logs()), "trusted");
    assert_eq!(verdict(SECURE, &added.logs()), "HM-POLICY-0102");
    // The log knows events that were never measured.
    assert_eq!(
        Scene::under(SECURE).verdict(&off.logs(), &added.logs()),
        "HM-VERIFY-0703"
    );
    // What no firmware does is told, in each of its registers.
    let consistent = "[boot]\nconsistent = true";
    assert_eq!(verdict(consistent, &sb_on().logs()), "trusted");
    for pcr in [0, 1, 2, 3, 6, 7] {
        let added = sb_on().then(pcr, EventKind::IPL, b"more");
        assert_eq!(verdict(consistent, &added.logs()), "HM-POLICY-0127", "PCR {pcr}");
    }
    // The kernel's register is not the firmware's.
    let mut scene = Scene::new();
    let taken = sb_on().then(10, EventKind::IPL, b"a file");
    assert_eq!(scene.verdict(&sb_on().logs(), &taken.logs()), "HM-VERIFY-0704");
}

#[test]
fn attack_41_registers_that_started_elsewhere() {
    // A TPM that was reset under a running machine has registers of another history than any log of the machine.
    let mut scene = Scene::new();
    let whole = sb_on().logs();
    assert_eq!(scene.honest(&whole), "trusted");
    let measured_again = Logs {
        tcg: Some(
            Writer::new(&[HashAlg::Sha256])
                .event(7, EventKind::SEPARATOR, &[0; 4])
                .bytes,
        ),
        ..Logs::default()
    };
    assert_eq!(scene.verdict(&measured_again, &whole), "HM-VERIFY-0703");
    // A dynamic launch may reset PCR 17 to 22: no rule may rest on them as on the others, nor on 16 and 23.
    for pcr in [16, 23] {
        let text = format!("version = 1\nname = \"p\"\nserial = 1\n[boot.pcrs]\n{pcr} = \"zero\"\n");
        assert!(hallmark_policy::Policy::from_toml("p", &text).is_err(), "PCR {pcr}");
    }
}

/// EFI_SIGNATURE_LIST of EFI_CERT_SHA256_GUID.
fn hashes(hashes: &[[u8; 32]]) -> Vec<u8> {
    let guid = [
        0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28,
    ];
    let size = u32::try_from(28 + 48 * hashes.len()).unwrap();
    let mut list = [&guid[..], &size.to_le_bytes(), &[0; 4], &48_u32.to_le_bytes()].concat();
    for hash in hashes {
        list.extend([&[0; 16], &hash[..]].concat());
    }
    list
}

/// The end of the firmware's configuration.
pub(crate) fn separator() -> usize {
    sb_on().place(|event| event.pcr == 7 && event.kind == EventKind::SEPARATOR)
}

#[test]
fn attack_44_firmware_settings() {
    let saying = |text: &[u8]| sb_on().before(separator(), 7, EventKind::EFI_ACTION, text);
    let off = || Events::recorded("base");
    for (rule, bad, code) in [
        ("secure_boot = true", off(), "HM-POLICY-0102"),
        ("setup_mode = false", off(), "HM-POLICY-0103"),
        ("setup_mode = false", sb_on().setting("PK", b""), "HM-POLICY-0103"),
        ("debug = false", saying(b"UEFI Debug Mode"), "HM-POLICY-0106"),
        (
            "dma_protection = true",
            saying(b"DMA Protection Disabled"),
            "HM-POLICY-0107",
        ),
    ] {
        let rules = format!("[boot]\n{rule}");
        assert_eq!(verdict(&rules, &sb_on().logs()), "trusted", "{rule}");
        assert_eq!(verdict(&rules, &bad.logs()), code, "{rule}");
    }
    // A variable that the firmware does not measure, or measures twice, is not taken for a good one.
    let mut without = sb_on();
    without.list.remove(sb_on().variable("SecureBoot"));
    let both = sb_on().before(
        separator(),
        7,
        EventKind::EFI_VARIABLE_DRIVER_CONFIG,
        &variable("SecureBoot", &[0]),
    );
    for odd in [without, both, sb_on().setting("SecureBoot", &[2])] {
        assert_eq!(verdict(SECURE, &odd.logs()), "HM-POLICY-0102");
    }
}

#[test]
fn attack_44_revocations_and_keys() {
    let hash = |digit: u8| [digit; 32];
    let revoking = |list: &[[u8; 32]]| sb_on().setting("dbx", &hashes(list));
    let dbx = format!(
        "[boot]\ndbx_at_least = [\"{}\", \"{}\"]",
        hex::encode(hash(1)),
        hex::encode(hash(2))
    );
    assert_eq!(verdict(&dbx, &revoking(&[hash(2), hash(1), hash(3)]).logs()), "trusted");
    for old in [
        revoking(&[hash(1)]),
        sb_on().setting("dbx", b""),
        sb_on().setting("dbx", &hashes(&[hash(1), hash(2)])[..100]),
    ] {
        assert_eq!(verdict(&dbx, &old.logs()), "HM-POLICY-0113");
    }
    let (db, rogue) = (sha256_of_pem("db.crt"), sha256_of_pem("rogue.crt"));
    for (rule, code) in [("db_certificates", "HM-POLICY-0112"), ("signed_by", "HM-POLICY-0116")] {
        let rules = |key: &str| format!("[boot]\n{rule} = [\"{key}\"]");
        assert_eq!(verdict(&rules(&db), &sb_on().logs()), "trusted", "{rule}");
        assert_eq!(verdict(&rules(&rogue), &sb_on().logs()), code, "{rule}");
    }
    // Images that are allowed by their hash; and nothing that had to be signed.
    let by_hash = sb_on().setting("db", &hashes(&[hash(9)]));
    let rules = format!("[boot]\ndb_certificates = [\"{db}\"]");
    assert_eq!(verdict(&rules, &by_hash.logs()), "HM-POLICY-0112");
    let rules = format!("[boot]\nsigned_by = [\"{db}\"]");
    assert_eq!(verdict(&rules, &Events::recorded("base").logs()), "HM-POLICY-0116");
}
