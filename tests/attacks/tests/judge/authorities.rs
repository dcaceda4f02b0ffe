//! Attack 44: what the firmware says somewhere else than most firmware does.

use hallmark_evidence::tcg::EventKind;
use hallmark_evidence::tcg::efi::SHIM_LOCK;

use crate::boot::{der, sb_on, separator, sha256_of_pem};
use crate::events::{Events, variable};
use crate::scene::{Scene, verdict};

const AUTHORITY: EventKind = EventKind::EFI_VARIABLE_AUTHORITY;

/// `EFI_SIGNATURE_DATA` of a certificate.
fn owned(name: &str) -> Vec<u8> {
    [&[0x77; 16][..], &der(name)].concat()
}

/// What authorised an image by a certificate of db.
fn by(name: &str) -> Vec<u8> {
    variable("db", &owned(name))
}

/// With the separator of PCR 7 at the end of the firmware, as firmware has it that follows the specification.
fn late() -> Events {
    let mut events = sb_on();
    let moved = events.list.remove(separator());
    let end = events
        .list
        .iter()
        .position(|event| event.pcr == 4 && event.kind == EventKind::SEPARATOR);
    events.list.insert(end.unwrap(), moved);
    events
}

fn signed() -> String {
    format!("[boot]\nsigned_by = [\"{}\"]", sha256_of_pem("db.crt"))
}

/// The event that the refusal names.
fn named(rules: &str, events: &Events) -> (String, Option<u32>) {
    let logs = events.logs();
    let appraisal = Scene::under(rules).show(&logs, &logs).unwrap();
    let reason = appraisal.refusal().unwrap();
    (
        format!("{reason:?}"),
        reason.first_event.as_ref().map(|event| event.number),
    )
}

#[test]
fn attack_44_a_driver_by_another_key_in_front_of_the_separator() {
    for (events, place) in [(sb_on(), separator()), (late(), separator())] {
        let with = |data: &[u8]| events.clone().before(place, 7, AUTHORITY, data);
        let rules = format!(
            "{}\nconsistent = true\ndb_certificates = [\"{}\"]",
            signed(),
            sha256_of_pem("db.crt")
        );
        assert_eq!(verdict(&rules, &events.logs()), "trusted");
        // A driver that a known key signed is what Secure Boot is for, and leaves db what it is.
        assert_eq!(verdict(&rules, &with(&by("db.crt")).logs()), "trusted");
        let rogue = with(&by("rogue.crt"));
        assert_eq!(verdict(&signed(), &rogue.logs()), "HM-POLICY-0116");
        // The log's first event is the writer's own.
        let (told, event) = named(&signed(), &rogue);
        assert!(told.contains(&sha256_of_pem("rogue.crt")), "{told}");
        assert_eq!(event, Some(u32::try_from(place + 1).unwrap()));
        // By its hash, under another type, under another name, without its owner: it is the same.
        let hash = variable("db", &[&[0x77; 16][..], &[9; 32]].concat());
        let of_shim = [&SHIM_LOCK[..], &by("rogue.crt")[16..]].concat();
        for data in [
            hash,
            of_shim,
            variable("db", &der("rogue.crt")),
            variable("dbr", &owned("rogue.crt")),
        ] {
            assert_eq!(verdict(&signed(), &with(&data).logs()), "HM-POLICY-0116");
        }
        for kind in [
            EventKind::EFI_VARIABLE_DRIVER_CONFIG,
            EventKind::EFI_ACTION,
            EventKind::IPL,
        ] {
            let retyped = rogue.clone().forged(place, |event| event.kind = kind);
            assert_eq!(verdict(&signed(), &retyped.logs()), "HM-POLICY-0116", "{kind}");
        }
        // What names nobody is not taken for nothing.
        let nobody = with(&variable("db", &[0x77; 40]));
        assert_eq!(verdict(&signed(), &nobody.logs()), "HM-POLICY-0116");
    }
}

#[test]
fn attack_44_an_authority_in_another_register() {
    let consistent = "[boot]\nconsistent = true";
    for pcr in [0, 1, 2, 3, 4, 5, 6, 8, 14] {
        for place in [0, separator(), sb_on().list.len()] {
            let with = |name: &str| sb_on().before(place, pcr, AUTHORITY, &by(name));
            assert_eq!(verdict(&signed(), &with("db.crt").logs()), "trusted", "PCR {pcr}");
            assert_eq!(
                verdict(&signed(), &with("rogue.crt").logs()),
                "HM-POLICY-0116",
                "PCR {pcr}"
            );
            assert_eq!(
                verdict(consistent, &with("rogue.crt").logs()),
                "HM-POLICY-0127",
                "PCR {pcr}"
            );
            let unsaid = with("rogue.crt").forged(place, |event| event.data = b"harmless".to_vec());
            assert_eq!(verdict(&signed(), &unsaid.logs()), "HM-POLICY-0116", "PCR {pcr}");
        }
    }
    assert_eq!(verdict(&signed(), &sb_on().logs()), "trusted");
    assert_eq!(verdict(consistent, &sb_on().logs()), "trusted");
}

#[test]
fn attack_44_a_protection_that_is_said_to_be_off_behind_the_separator() {
    let wide = |text: &str| {
        text.encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    for (rule, sentence, code) in [
        ("debug = false", "UEFI Debug Mode", "HM-POLICY-0106"),
        ("dma_protection = true", "DMA Protection Disabled", "HM-POLICY-0107"),
    ] {
        let rules = format!("[boot]\n{rule}");
        assert_eq!(verdict(&rules, &sb_on().logs()), "trusted", "{rule}");
        for events in [sb_on(), late()] {
            for (pcr, place) in [
                (7, separator()),
                (7, separator() + 1),
                (7, events.list.len()),
                (1, separator()),
            ] {
                for said in [
                    sentence.as_bytes().to_vec(),
                    format!("{sentence}\0").into_bytes(),
                    wide(sentence),
                ] {
                    let off = events.clone().before(place, pcr, EventKind::EFI_ACTION, &said);
                    assert_eq!(verdict(&rules, &off.logs()), code, "{rule}: PCR {pcr}, place {place}");
                    // Another word in the log does not hide it; another type does not either.
                    let hidden = off.forged(place, |event| {
                        event.kind = EventKind::IPL;
                        event.data = b"harmless".to_vec();
                    });
                    assert_eq!(
                        verdict(&rules, &hidden.logs()),
                        code,
                        "{rule}: PCR {pcr}, place {place}"
                    );
                }
            }
        }
        // Something that does not show itself could be it; another sentence is not.
        let end = sb_on().list.len();
        let other = sb_on().then(7, EventKind::EFI_ACTION, b"DMA Protection Enabled");
        assert_eq!(verdict(&rules, &other.logs()), "trusted", "{rule}");
        let opaque = other.forged(end, |event| event.data = b"harmless".to_vec());
        assert_eq!(verdict(&rules, &opaque.logs()), code, "{rule}");
    }
}
