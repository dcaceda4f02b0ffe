//! Attacks 42 and 43: logs that are too much, and logs of odd forms.

use hallmark_evidence::tcg::EventKind;
use hallmark_evidence::{Limits, Log, LogKind};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::HashAlg;

use crate::events::Events;
use crate::lines;
use crate::scene::{Logs, Scene, verdict};
use crate::writer::{Writer, sha1_event, spec_id};

const SHA256: &[HashAlg] = &[HashAlg::Sha256];

/// The verdict on a machine that measured an honest boot and shows `bytes` as its log.
fn shown(bytes: Vec<u8>) -> String {
    let honest = Logs::recorded("sb-on");
    let mut scene = Scene::new();
    assert_eq!(scene.honest(&honest), "trusted");
    scene.verdict(&honest, &Logs::firmware(bytes))
}

#[test]
fn attack_42_numbers_and_sizes_that_no_log_has() {
    let mut event_size = Writer::new(SHA256).event(0, EventKind::POST_CODE, b"").bytes;
    let at = event_size.len() - 4;
    event_size[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(shown(event_size), "HM-EVID-0102");
    let digests = [0_u32, 1, 0x8000_0000].iter().flat_map(|word| word.to_le_bytes());
    assert_eq!(
        shown(Writer::new(SHA256).bytes.into_iter().chain(digests).collect()),
        "HM-EVID-0103"
    );
    let mut algorithms = spec_id(&[(0x000b, 32)]);
    algorithms[24..28].copy_from_slice(&65_535_u32.to_le_bytes());
    assert_eq!(
        shown(sha1_event(0, EventKind::NO_ACTION, [0; 20], &algorithms)),
        "HM-EVID-0103"
    );
    let many = (0..20_000).fold(Writer::new(SHA256), |log, _| log.event(0, EventKind::POST_CODE, b""));
    assert_eq!(shown(many.bytes), "HM-EVID-0103");
    assert_eq!(shown(vec![0x78, 0x9c, 0xed, 0xc1, 0x01, 0x01]), "HM-EVID-0102");
    let whole = Log::new(LogKind::Tcg, 0, vec![0; Limits::BOOT_LOG + 1]).unwrap_err();
    assert_eq!(whole.code().as_str(), "HM-EVID-0001");
    assert!(Log::new(LogKind::Tcg, 0, vec![0; Limits::BOOT_LOG]).is_ok());
}

#[test]
fn attack_42_a_list_without_end() {
    let one = lines::file("/a", &[7; 32]);
    let list = |count: usize| Logs::recorded("sb-on").with_ima(&vec![one.clone(); count]);
    let rules = "[ima]\nboot_aggregate = false\nlines_at_most = 1000";
    assert_eq!(verdict(rules, &list(1000)), "trusted");
    assert_eq!(verdict(rules, &list(20_000)), "HM-POLICY-0205");
    // Some lists are longer than may be sent at all.
    let longest = vec![0; Limits::IMA_LIST + 1];
    assert_eq!(
        Log::new(LogKind::Ima, 0, longest).unwrap_err().code().as_str(),
        "HM-EVID-0001"
    );
    // One line of the length of all.
    let huge = [&10_u32.to_le_bytes()[..], &[1; 20], &u32::MAX.to_le_bytes()].concat();
    let honest = list(1);
    let mut scene = Scene::under(rules);
    assert_eq!(scene.honest(&honest), "trusted");
    let shown = Logs {
        ima: Some(huge),
        ..honest.clone()
    };
    assert_eq!(scene.verdict(&honest, &shown), "HM-EVID-0302");
}

/// There is no regular expression to be sent; the patterns of a policy cost what the texts are long.
#[test]
fn attack_42_a_name_that_is_made_for_patterns() {
    let rules = |exclude: &str| {
        format!(
            "[ima]\nboot_aggregate = false\nallow = [\"{}\"]\nexclude = [\"{exclude}\"]",
            "ab".repeat(32)
        )
    };
    let stars = "/*a*a*a*a*a*a*a*a*a*a*a*a*b";
    let named = |name: &str| Logs::recorded("sb-on").with_ima(&[lines::file(name, &[7; 32])]);
    let hostile = format!("/{}", "a".repeat(3000));
    assert_eq!(verdict(&rules(stars), &named(&format!("{hostile}b"))), "trusted");
    assert_eq!(verdict(&rules(stars), &named(&hostile)), "HM-POLICY-0209");
}

#[test]
fn attack_43_forms_that_are_none() {
    let agile = Events::recorded("sb-on").logs().tcg.unwrap();
    assert_eq!(shown(agile.clone()), "trusted");
    // The first event, which says how to read the others, is gone: what is left is no log of the old form.
    let header = Writer::new(&[HashAlg::Sha1, HashAlg::Sha256]).bytes.len();
    let headless = shown(agile[header..].to_vec());
    assert!(headless.starts_with("HM-EVID-010"), "{headless}");
    let swapped: Vec<u8> = [0_u32, 8]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .chain([0; 20])
        .chain(1_u32.to_be_bytes())
        .chain(*b"v")
        .collect();
    assert_eq!(shown(swapped), "HM-EVID-0102");
    for banks in [
        &[(0x0012, 32)][..],
        &[],
        &[(0x000b, 20)],
        &[(0x000b, 32), (0x000b, 32)],
        &[(0x000b, 32), (0x7777, 0)],
    ] {
        let log = sha1_event(0, EventKind::NO_ACTION, [0; 20], &spec_id(banks));
        assert_eq!(shown(log), "HM-EVID-0104", "{banks:?}");
    }
}

#[test]
fn attack_43_odd_forms_that_firmware_writes() {
    let rules = "[boot]\nsecure_boot = true\nconsistent = true";
    // SP 800-155 events belong to no register and say nothing of what was measured.
    let informed = Events::recorded("sb-on")
        .then(u32::MAX, EventKind::NO_ACTION, b"SP800-155 Event\0")
        .forged(Events::recorded("sb-on").list.len(), |event| event.digests.clear());
    assert_eq!(verdict(rules, &informed.logs()), "trusted");
    // A name in half a character, and a variable of no data, are no Secure Boot.
    for bad in [&[0x00, 0xd8][..], &[0xff, 0xfe, 0x00], b"SecureBoot", &[]] {
        let name = Events::recorded("sb-on");
        let place = name.variable("SecureBoot");
        let measured = name.measuring(
            place,
            &[&[0; 16][..], &1_u64.to_le_bytes(), &1_u64.to_le_bytes(), bad, &[1]].concat(),
        );
        assert_eq!(
            verdict("[boot]\nsecure_boot = true", &measured.logs()),
            "HM-POLICY-0102"
        );
    }
}
