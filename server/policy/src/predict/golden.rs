//! Predictions against what real machines quoted. The image itself is not among the vectors: the hashes of its parts are
//! taken from the logs, and everything else is computed.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hallmark_evidence::tcg::efi::{UefiVariable, signature_database};
use hallmark_evidence::tcg::{TcgEvent, TcgLog};
use hallmark_tpm_wire::HashAlg;

use super::events::{IMAGE, hex};
use super::forecast::Parts;
use super::pe::Digest;
use super::uki::Uki;
use super::variables::Variables;
use super::{Inputs, Phase, secure_boot};

const BOOTS: [&str; 9] = [
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
const SECTIONS: [&str; 4] = [".linux", ".osrel", ".cmdline", ".initrd"];

fn file(boot: &str, name: &str) -> Vec<u8> {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measured-boot");
    std::fs::read(vectors.join(boot).join(name)).unwrap()
}

fn digest(event: &TcgEvent<'_>) -> Digest {
    let (_, digest) = event.digests.iter().find(|(bank, _)| *bank == HashAlg::Sha256).unwrap();
    (*digest).try_into().unwrap()
}

fn read_registers(boot: &str) -> BTreeMap<String, String> {
    let text = String::from_utf8(file(boot, "pcrs.txt")).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(register, value)| (register.to_owned(), value.to_lowercase()))
        .collect()
}

/// The parts of a boot, as its log has them.
fn with_parts<T>(boot: &str, then: impl FnOnce(&Parts<'_>) -> T) -> T {
    let bytes = file(boot, "eventlog.bin");
    let log = TcgLog::parse(&bytes).unwrap();
    let of = |pcr: u32| log.events().iter().filter(move |event| event.pcr == pcr);
    let images: Vec<_> = of(4)
        .filter(|event| event.kind.name() == Some(IMAGE))
        .map(digest)
        .collect();
    let sections: Vec<_> = of(11).skip(1).step_by(2).map(digest).collect();
    let line = String::from_utf8(file(boot, "cmdline")).unwrap();
    let variables: Vec<_> = of(7).filter_map(|event| UefiVariable::parse(event.data)).collect();
    let secure_boot = variables[0].data == [1];
    let uki = Uki {
        authenticode: images[0],
        kernel: images.get(1).copied().unwrap_or([0; 32]),
        stub: 252,
        measured: Ok(SECTIONS.into_iter().zip(sections.iter().copied()).collect()),
        command_line: Ok(line.trim_end().to_owned()),
        initrd: Ok(sections[3]),
    };
    let mut file = Variables::default();
    for variable in &variables[1..5] {
        file = file.with(variable.guid, &variable.name, variable.data);
    }
    let mut keys = secure_boot::configuration(&file, secure_boot);
    if secure_boot {
        // The only entry of db is what lets the image pass.
        let db = signature_database(variables[3].data).unwrap();
        keys.push(secure_boot::authority(&db[0]));
    }
    then(&Parts {
        earlier: Vec::new(),
        shim: false,
        loader: None,
        uki,
        secure_boot: Some(secure_boot),
        failed_entries: 0,
        keys: Ok(keys),
        phases: [Phase::Stub].into(),
    })
}

#[test]
fn real_boots_have_the_predicted_registers() {
    for boot in BOOTS {
        let real = read_registers(boot);
        let forecast = with_parts(boot, |parts| parts.forecast(&Inputs::default()));
        assert_eq!(forecast.registers.len(), 4, "{boot}");
        for (register, values) in &forecast.registers {
            assert!(values.contains(&real[register]), "{boot} {register}");
            let several = boot == "sb-on" && register == "sha256:4";
            assert_eq!(values.len(), if several { 2 } else { 1 }, "{boot} {register}");
        }
    }
}

#[test]
fn the_events_are_those_of_the_real_log() {
    for boot in BOOTS {
        let bytes = file(boot, "eventlog.bin");
        let log = TcgLog::parse(&bytes).unwrap();
        let baseline = with_parts(boot, |parts| parts.forecast(&Inputs::default()))
            .baseline("edge", 1, 0)
            .unwrap();
        for pcr in [4, 7, 9, 11] {
            let real: Vec<_> = log
                .events()
                .iter()
                .filter(|event| event.pcr == pcr)
                .map(|it| hex(&digest(it)))
                .collect();
            let shown = |record: &crate::BootRecord| {
                let events = record.events.iter().filter(|event| u32::from(event.pcr) == pcr);
                events.map(|event| event.digest.clone()).collect::<Vec<_>>()
            };
            assert!(
                baseline.boots.iter().any(|boot| shown(boot) == real),
                "{boot} PCR {pcr}"
            );
        }
    }
}

#[test]
fn phases_follow_one_another_and_each_is_a_value() {
    let all: BTreeSet<_> = Phase::ALL.into();
    let forecast = with_parts("base", |parts| {
        let parts = Parts {
            earlier: Vec::new(),
            shim: false,
            loader: None,
            uki: Uki {
                measured: parts.uki.measured.clone(),
                command_line: Err("unknown".to_owned()),
                initrd: Err("unknown".to_owned()),
                ..parts.uki
            },
            secure_boot: None,
            failed_entries: 1,
            keys: Err("unknown".to_owned()),
            phases: all.clone(),
        };
        parts.forecast(&Inputs::default())
    });
    assert_eq!(forecast.registers["sha256:11"].len(), all.len());
    assert_eq!(
        forecast.registers["sha256:4"].len(),
        4,
        "with Secure Boot unknown, the kernel is measured or not; and one entry fails before, or none"
    );
    let left_out: Vec<_> = forecast.left_out.iter().map(|it| it.pcr).collect();
    assert_eq!(left_out, [7, 9]);
}
