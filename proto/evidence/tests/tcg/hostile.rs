//! Logs that no firmware writes.

use std::time::{Duration, Instant};

use hallmark_evidence::{
    Limits,
    tcg::{EventKind, Replay, TcgFormat, TcgLog, TcgLogError},
};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::HashAlg;
use proptest::prelude::*;

use crate::writer::{Writer, sha1_event, spec_id};

const SHA256: &[HashAlg] = &[HashAlg::Sha256];

fn code(bytes: &[u8]) -> String {
    TcgLog::parse(bytes).expect_err("accepted").code().to_string()
}

fn declared(banks: &[(u16, u16)]) -> Vec<u8> {
    sha1_event(0, EventKind::NO_ACTION, [0; 20], &spec_id(banks))
}

#[test]
fn a_good_log_is_read() {
    let writer = Writer::new(SHA256).event(7, EventKind::SEPARATOR, &[0; 4]);
    let log = TcgLog::parse(&writer.bytes).unwrap();
    assert_eq!((log.events().len(), log.banks()), (2, SHA256));
    assert_eq!(log.events()[1].data, [0; 4]);
}

/// A confidential virtual machine's log has the same form, but for where it begins; `cat` of its ACPI table is no log at all.
#[test]
fn the_log_of_a_confidential_machine_is_named_as_one() {
    let log = |register: u32| {
        let first = sha1_event(register, EventKind::NO_ACTION, [0; 20], &spec_id(&[(0x000c, 48)]));
        let event = Writer::new(&[HashAlg::Sha384])
            .event(1, EventKind::SEPARATOR, &[0; 4])
            .bytes;
        let head = Writer::new(&[HashAlg::Sha384]).bytes.len();
        [&first[..], &event[head..]].concat()
    };
    assert_eq!(TcgLog::parse(&log(0)).unwrap().events().len(), 2);
    let padded = [log(1), vec![0xff; 4096]].concat();
    for cc in [log(1), padded, b"CCEL8\0\0\0\x01\x84INTEL EDK2".to_vec()] {
        let error = TcgLog::parse(&cc).expect_err("accepted");
        assert_eq!(error.code().to_string(), "HM-EVID-0108");
        let told = hallmark_reason::Report(&error).to_string();
        assert!(
            told.contains("TDX") && told.contains("CCEL") && told.contains("binary_bios_measurements"),
            "{told}"
        );
    }
    assert_eq!(code(&log(2)), "HM-EVID-0104");
}

#[test]
fn numbers_that_no_log_has_cost_nothing() {
    let started = Instant::now();
    let huge = u32::MAX.to_le_bytes();
    let mut event_size = Writer::new(SHA256).event(0, EventKind::POST_CODE, b"").bytes;
    let at = event_size.len() - 4;
    event_size[at..].copy_from_slice(&huge);
    assert_eq!(code(&event_size), "HM-EVID-0102");
    let mut digests = Writer::new(SHA256).bytes;
    digests.extend(
        [
            &0_u32.to_le_bytes()[..],
            &1_u32.to_le_bytes(),
            &0x8000_0000_u32.to_le_bytes(),
        ]
        .concat(),
    );
    assert_eq!(code(&digests), "HM-EVID-0103");
    let mut algorithms = spec_id(&[(0x000b, 32)]);
    algorithms[24..28].copy_from_slice(&65_535_u32.to_le_bytes());
    assert_eq!(
        code(&sha1_event(0, EventKind::NO_ACTION, [0; 20], &algorithms)),
        "HM-EVID-0103"
    );
    let many: Vec<u8> = (0..20_000)
        .fold(Writer::new(SHA256), |log, _| log.event(0, EventKind::POST_CODE, b""))
        .bytes;
    assert_eq!(code(&many), "HM-EVID-0103");
    assert_eq!(code(&vec![0; Limits::BOOT_LOG + 1]), "HM-EVID-0103");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn the_spec_id_event_is_exact() {
    assert_eq!(code(&[]), "HM-EVID-0101");
    assert_eq!(code(&declared(&[])), "HM-EVID-0104");
    assert_eq!(code(&declared(&[(0x000b, 20)])), "HM-EVID-0104");
    assert_eq!(code(&declared(&[(0x000b, 32), (0x000b, 32)])), "HM-EVID-0104");
    assert_eq!(
        code(&declared(&[(0x0012, 32)])),
        "HM-EVID-0104",
        "no bank that is known"
    );
    assert_eq!(code(&declared(&[(0x000b, 32), (0x7777, 0)])), "HM-EVID-0104");
    let mut trailing = spec_id(&[(0x000b, 32)]);
    trailing.push(0);
    assert_eq!(
        code(&sha1_event(0, EventKind::NO_ACTION, [0; 20], &trailing)),
        "HM-EVID-0104"
    );
    let good = spec_id(&[(0x000b, 32)]);
    assert_eq!(
        code(&sha1_event(0, EventKind::NO_ACTION, [1; 20], &good)),
        "HM-EVID-0104"
    );
    assert_eq!(
        code(&sha1_event(2, EventKind::NO_ACTION, [0; 20], &good)),
        "HM-EVID-0104"
    );
    assert!(TcgLog::parse(&sha1_event(0, EventKind::NO_ACTION, [0; 20], &good)).is_ok());
}

#[test]
fn without_a_spec_id_event_the_log_is_of_the_old_form() {
    let digest = HashAlg::Sha1.digest(b"v").try_into().unwrap();
    let bytes = sha1_event(0, EventKind::S_CRTM_VERSION, digest, b"v");
    let log = TcgLog::parse(&bytes).unwrap();
    assert_eq!((log.format(), log.banks()), (TcgFormat::Sha1, &[HashAlg::Sha1][..]));
    // A crypto-agile log that lost its first event does not pass for one.
    let agile = Writer::new(SHA256)
        .event(0, EventKind::POST_CODE, b"x")
        .event(1, EventKind::POST_CODE, b"y");
    let header = Writer::new(SHA256).bytes.len();
    assert!(TcgLog::parse(&agile.bytes[header..]).is_err());
}

#[test]
fn big_endian_logs_are_refused() {
    let swapped: Vec<u8> = [0_u32, 8]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .chain([0; 20])
        .chain(1_u32.to_be_bytes())
        .chain(*b"v")
        .collect();
    assert!(TcgLog::parse(&swapped).is_err());
}

#[test]
fn an_unknown_bank_is_passed_over_by_its_size() {
    let mut bytes = declared(&[(0x000b, 32), (0x0012, 32)]);
    let digests = [(0x000b, HashAlg::Sha256.digest(b"x")), (0x0012, vec![7; 32])];
    let writer = Writer {
        bytes: Vec::new(),
        banks: Vec::new(),
    };
    bytes.extend(writer.with_digests(4, EventKind::POST_CODE, &digests, b"x").bytes);
    let log = TcgLog::parse(&bytes).unwrap();
    assert_eq!((log.banks(), log.unknown_banks()), (SHA256, &[0x0012][..]));
    assert_eq!(log.events()[1].digests.len(), 1);
}

#[test]
fn every_event_has_one_digest_for_each_bank() {
    let both = || Writer::new(&[HashAlg::Sha1, HashAlg::Sha256]);
    let (sha1, sha256) = ((0x0004, vec![1; 20]), (0x000b, vec![2; 32]));
    let kind = EventKind::POST_CODE;
    assert!(TcgLog::parse(&both().with_digests(0, kind, &[sha256.clone(), sha1.clone()], b"").bytes).is_ok());
    for digests in [
        vec![],
        vec![sha256.clone()],
        vec![sha256.clone(), sha256.clone()],
        vec![sha1.clone(), sha256.clone(), (0x000c, vec![3; 48])],
    ] {
        assert_eq!(code(&both().with_digests(0, kind, &digests, b"").bytes), "HM-EVID-0106");
    }
    // What is not measured may come without.
    assert!(TcgLog::parse(&both().with_digests(0, EventKind::NO_ACTION, &[], b"").bytes).is_ok());
}

#[test]
fn registers_are_those_of_a_pc() {
    for pcr in [24, 31, 0xffff_ffff] {
        assert_eq!(
            code(&Writer::new(SHA256).event(pcr, EventKind::POST_CODE, b"").bytes),
            "HM-EVID-0105"
        );
    }
    // SP 800-155 events belong to no register.
    let log = Writer::new(SHA256)
        .with_digests(u32::MAX, EventKind::NO_ACTION, &[], b"SP800-155 Event\0")
        .bytes;
    assert!(TcgLog::parse(&log).is_ok());
    assert_eq!(
        code(
            &Writer::new(SHA256)
                .with_digests(24, EventKind::NO_ACTION, &[], b"")
                .bytes
        ),
        "HM-EVID-0105"
    );
}

#[test]
fn the_locality_is_told_once_and_before_register_0_is_extended() {
    for locality in [0, 3, 4] {
        let writer = Writer::new(SHA256)
            .locality(locality)
            .event(0, EventKind::POST_CODE, b"x");
        let log = TcgLog::parse(&writer.bytes).unwrap();
        assert_eq!(log.startup_locality(), locality);
        let mut start = vec![0; 32];
        start[31] = locality;
        start.extend(HashAlg::Sha256.digest(b"x"));
        assert_eq!(
            Replay::of(&log).value(HashAlg::Sha256, 0),
            Some(&HashAlg::Sha256.digest(&start)[..])
        );
    }
    // Some firmware writes every event's data into a slot of one size.
    let padded = [&b"StartupLocality\0\x03"[..], &[0; 33]].concat();
    let padded = Writer::new(SHA256).with_digests(0, EventKind::NO_ACTION, &[(0x000b, vec![0; 32])], &padded);
    assert_eq!(TcgLog::parse(&padded.bytes).unwrap().startup_locality(), 3);
    let late = Writer::new(SHA256).event(0, EventKind::POST_CODE, b"x").locality(3);
    assert_eq!(code(&late.bytes), "HM-EVID-0107");
    assert_eq!(code(&Writer::new(SHA256).locality(3).locality(4).bytes), "HM-EVID-0107");
    assert_eq!(code(&Writer::new(SHA256).locality(5).bytes), "HM-EVID-0107");
    // A dynamic root before the firmware means locality 4, whichever of the two events comes first.
    let hcrtm = Writer::new(SHA256).event(0, EventKind::EFI_HCRTM_EVENT, b"HCRTM");
    assert_eq!(TcgLog::parse(&hcrtm.bytes).unwrap().startup_locality(), 4);
    assert!(TcgLog::parse(&hcrtm.locality(4).bytes).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read(
        events in prop::collection::vec((0..24_u32, 0..0x14_u32, prop::collection::vec(any::<u8>(), 0..64)), 0..20),
    ) {
        let banks = [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384];
        let writer = events.iter().fold(Writer::new(&banks), |log, (pcr, kind, data)| log.event(*pcr, EventKind(*kind), data));
        let log = TcgLog::parse(&writer.bytes).unwrap();
        prop_assert_eq!(log.events().len(), events.len() + 1);
        for (read, (pcr, kind, data)) in log.events()[1..].iter().zip(&events) {
            prop_assert_eq!((read.pcr, read.kind.0, read.data), (*pcr, *kind, data.as_slice()));
            prop_assert_eq!(read.digest(HashAlg::Sha384).unwrap(), HashAlg::Sha384.digest(data));
        }
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut behind_a_header = Writer::new(SHA256).bytes;
        behind_a_header.extend(&bytes);
        for log in [bytes, behind_a_header] {
            if let Ok(log) = TcgLog::parse(&log) {
                let _ = Replay::of(&log);
                for event in log.events() {
                    let _ = event.described();
                }
            }
        }
    }
}

#[test]
fn errors_name_both_values() {
    let error = TcgLog::parse(&[0; 10]).unwrap_err();
    assert!(
        matches!(
            error,
            TcgLogError::Truncated {
                wanted: 20,
                left: 2,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.compared().unwrap(), "expected 20 bytes, found 2");
}
