//! Real boots: the replay gives the registers that were read on the machine.

use std::{collections::BTreeMap, fs, path::PathBuf};

use hallmark_evidence::tcg::{Replay, TcgFormat, TcgLog, TcgLogError};
use hallmark_tpm_wire::HashAlg;

pub(crate) const BOOTS: [&str; 9] = [
    "base",
    "base-again",
    "cmdline",
    "http",
    "initrd",
    "min",
    "noima",
    "sb-on",
    "second-boot",
];

pub(crate) fn vector(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measured-boot");
    root.join(name)
}

/// Lines `sha256:7 HEX`.
fn registers(boot: &str) -> BTreeMap<(HashAlg, u8), Vec<u8>> {
    let text = fs::read_to_string(vector(boot).join("pcrs.txt")).unwrap();
    let parse = |line: &str| {
        let (register, value) = line.split_once(' ').unwrap();
        let (bank, pcr) = register.split_once(':').unwrap();
        let key = (HashAlg::from_name(bank).unwrap(), pcr.parse().unwrap());
        (key, hex::decode(value.to_lowercase()).unwrap())
    };
    text.lines().map(parse).collect()
}

#[test]
fn the_replay_of_every_boot_gives_its_registers() {
    for boot in BOOTS {
        let bytes = fs::read(vector(boot).join("eventlog.bin")).unwrap();
        let log = TcgLog::parse(&bytes).unwrap();
        assert_eq!(log.format(), TcgFormat::CryptoAgile);
        assert_eq!(log.banks(), [HashAlg::Sha1, HashAlg::Sha256]);
        let replay = Replay::of(&log);
        let mut compared = 0;
        // PCR 10 is IMA's, which writes its own list.
        for ((bank, pcr), value) in registers(boot).iter().filter(|((_, pcr), _)| *pcr != 10) {
            assert_eq!(replay.value(*bank, *pcr), Some(value.as_slice()), "{boot} {bank}:{pcr}");
            compared += 1;
        }
        assert_eq!(compared, 46, "{boot}");
    }
}

#[test]
fn a_cut_log_is_refused_and_a_changed_digest_replays_otherwise() {
    let whole = fs::read(vector("base/eventlog.bin")).unwrap();
    let cut = fs::read(vector("neg/base-truncated.bin")).unwrap();
    assert!(matches!(TcgLog::parse(&cut), Err(TcgLogError::Truncated { .. })));
    let flipped = fs::read(vector("neg/base-digest-flipped.bin")).unwrap();
    let (good, bad) = (TcgLog::parse(&whole).unwrap(), TcgLog::parse(&flipped).unwrap());
    let (good, bad) = (Replay::of(&good), Replay::of(&bad));
    let differing: Vec<u8> = (0..24)
        .filter(|pcr| good.value(HashAlg::Sha256, *pcr) != bad.value(HashAlg::Sha256, *pcr))
        .collect();
    assert_eq!(differing, [11]);
}

/// Every length but the whole one: refused, unless the cut falls between two events.
#[test]
fn a_log_cut_anywhere_is_refused_or_is_a_shorter_log() {
    let whole = fs::read(vector("sb-on/eventlog.bin")).unwrap();
    let events = TcgLog::parse(&whole).unwrap().events().len();
    let mut shorter = 0;
    for length in 0..whole.len() {
        if let Ok(log) = TcgLog::parse(&whole[..length]) {
            assert!(log.events().len() < events);
            shorter += 1;
        }
    }
    assert_eq!(shorter, events - 1);
}
