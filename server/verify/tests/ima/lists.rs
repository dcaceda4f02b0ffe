//! Lists against PCR 10: what is proven of them, and what is not.

use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::ima::{BootAggregate, ImaListError, MeasuredFiles, measured_files};
use proptest::prelude::*;

use crate::writer;

/// What firmware and loader left in PCR 0 to 9.
fn firmware() -> PcrValues {
    registers(0..10, |pcr| HashAlg::Sha256.digest(&[pcr]))
}

fn registers(pcrs: std::ops::Range<u8>, value: impl Fn(u8) -> Vec<u8>) -> PcrValues {
    let mut values = PcrValues::new();
    for pcr in pcrs {
        values.insert(HashAlg::Sha256, pcr, value(pcr)).unwrap();
    }
    values
}

/// The first line of a boot with these registers.
pub(crate) fn aggregate(values: &PcrValues) -> Vec<u8> {
    let values: Vec<u8> = (0..10)
        .flat_map(|pcr| values.get(HashAlg::Sha256, pcr).unwrap().to_vec())
        .collect();
    let digest: [u8; 32] = HashAlg::Sha256.digest(&values).try_into().unwrap();
    writer::file("boot_aggregate", &digest)
}

fn file(number: u8) -> Vec<u8> {
    writer::file(&format!("/usr/bin/{number}"), &[number; 32])
}

fn violation(path: &str) -> Vec<u8> {
    let data = [writer::digest("sha256", &[0; 32]), writer::name(path.as_bytes())];
    let data: Vec<u8> = data.iter().flat_map(|field| writer::sized(field)).collect();
    writer::line_with_hash("ima-ng", &data, &[0; 20])
}

/// The line, said to have been measured into another register.
fn elsewhere(mut line: Vec<u8>, pcr: u32) -> Vec<u8> {
    line[..4].copy_from_slice(&pcr.to_le_bytes());
    line
}

/// PCR 10 after these lines.
pub(crate) fn register(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
    for event in ImaList::binary(&lines.concat()).lines() {
        replay.extend(&event.unwrap());
    }
    replay.value().to_vec()
}

/// `sent`, where the machine had measured `measured` when it was quoted.
fn prove(sent: &[Vec<u8>], measured: &[Vec<u8>]) -> Result<MeasuredFiles, ImaListError> {
    prove_from(None, sent, measured)
}

fn prove_from(held: Option<ImaReplay>, sent: &[Vec<u8>], measured: &[Vec<u8>]) -> Result<MeasuredFiles, ImaListError> {
    let mut values = firmware();
    values.insert(HashAlg::Sha256, 10, register(measured)).unwrap();
    measured_files(sent.concat(), held, &values)
}

fn names(files: &MeasuredFiles) -> Vec<String> {
    files.lines().map(|event| event.shown_name()).collect()
}

fn refusal(result: Result<MeasuredFiles, ImaListError>) -> String {
    use hallmark_reason::Coded as _;
    result.unwrap_err().code().to_string()
}

#[test]
fn a_whole_list_is_proven() {
    let list = [aggregate(&firmware()), file(1), file(2)];
    let files = prove(&list, &list).unwrap();
    assert_eq!(names(&files), ["boot_aggregate", "/usr/bin/1", "/usr/bin/2"]);
    assert_eq!((files.lines_before(), files.line_count()), (0, 3));
    assert_eq!(files.boot_aggregate(), Some(BootAggregate::Matches));
    assert_eq!(files.first_violation(), None);
}

#[test]
fn attack_36_a_list_that_grew_behind_its_quote_is_proven_up_to_the_quote() {
    let list = [aggregate(&firmware()), file(1), file(2), violation("/usr/bin/late")];
    let files = prove(&list, &list[..2]).unwrap();
    assert_eq!(names(&files), ["boot_aggregate", "/usr/bin/1"]);
    assert_eq!(files.proven_bytes(), u64::try_from(list[..2].concat().len()).unwrap());
    assert_eq!(
        files.first_violation(),
        None,
        "what is not proven is not told as a finding"
    );
    assert_eq!(files.replay().violations(), 0);
}

#[test]
fn attack_36_a_list_that_is_older_than_its_quote_is_refused() {
    let list = [aggregate(&firmware()), file(1), file(2)];
    assert_eq!(refusal(prove(&list[..2], &list)), "HM-VERIFY-0902");
    assert!(prove(&list, &list).is_ok());
}

#[test]
fn attack_39_a_list_that_leaves_something_out_is_refused() {
    let list = [aggregate(&firmware()), file(1), file(2), file(3)];
    for gone in 0..list.len() {
        let mut rest = list.to_vec();
        rest.remove(gone);
        assert_eq!(refusal(prove(&rest, &list)), "HM-VERIFY-0902", "line {gone}");
    }
    let mut swapped = list.to_vec();
    swapped.swap(1, 2);
    assert_eq!(refusal(prove(&swapped, &list)), "HM-VERIFY-0902");
    assert_eq!(refusal(prove(&[], &list)), "HM-VERIFY-0902");
    assert!(prove(&list, &list).is_ok());
    // Nothing was measured: the register proves that of it.
    let nothing = prove(&list, &[]).unwrap();
    assert_eq!(
        (nothing.line_count(), nothing.boot_aggregate()),
        (0, Some(BootAggregate::Absent))
    );
}

#[test]
fn attack_48_a_list_goes_on_only_from_where_it_ended() {
    let list: Vec<Vec<u8>> = [vec![aggregate(&firmware())], (1..6).map(file).collect()].concat();
    let first = prove(&list[..3], &list[..3]).unwrap();
    let held = || Some(first.replay().clone());
    let second = prove_from(held(), &list[3..], &list).unwrap();
    assert_eq!((second.lines_before(), second.line_count()), (3, 6));
    assert_eq!(names(&second), ["/usr/bin/3", "/usr/bin/4", "/usr/bin/5"]);
    assert_eq!(second.boot_aggregate(), None, "it came with the first part");
    // Rewound and skipped.
    for from in [0, 1, 2, 4] {
        assert_eq!(
            refusal(prove_from(held(), &list[from..], &list)),
            "HM-VERIFY-0902",
            "from {from}"
        );
    }
    // The held part is of another boot.
    let other = prove(&[file(9)], &[file(9)]).unwrap();
    assert_eq!(
        refusal(prove_from(Some(other.replay().clone()), &list[3..], &list)),
        "HM-VERIFY-0902"
    );
}

#[test]
fn attack_48_the_first_line_tells_another_boot() {
    let moved = registers(0..10, |pcr| HashAlg::Sha256.digest(&[pcr, 7]));
    let list = [aggregate(&moved), file(1)];
    assert_eq!(
        prove(&list, &list).unwrap().boot_aggregate(),
        Some(BootAggregate::Differs)
    );
    // A line of another register, which nothing proves, is put before it and says what it should say.
    let hidden = [elsewhere(aggregate(&firmware()), 11), aggregate(&moved), file(1)];
    let files = prove(&hidden, &list).unwrap();
    assert_eq!(files.boot_aggregate(), Some(BootAggregate::Absent));
    let none = [file(1)];
    assert_eq!(
        prove(&none, &none).unwrap().boot_aggregate(),
        Some(BootAggregate::Absent)
    );
    let violated = [violation("boot_aggregate")];
    assert_eq!(
        prove(&violated, &violated).unwrap().boot_aggregate(),
        Some(BootAggregate::Absent)
    );
    // Registers 8 and 9 are not quoted.
    let list = [aggregate(&firmware()), file(1)];
    let mut few = PcrValues::new();
    for pcr in 0..8 {
        few.insert(HashAlg::Sha256, pcr, HashAlg::Sha256.digest(&[pcr]))
            .unwrap();
    }
    few.insert(HashAlg::Sha256, 10, register(&list)).unwrap();
    let files = measured_files(list.concat(), None, &few).unwrap();
    assert_eq!(files.boot_aggregate(), Some(BootAggregate::NotQuoted));
}

#[test]
fn attack_48_a_violation_is_counted_and_named() {
    let list = [
        aggregate(&firmware()),
        file(1),
        violation("/usr/bin/a\nb"),
        file(2),
        violation("/usr/bin/c"),
    ];
    let files = prove(&list, &list).unwrap();
    assert_eq!(files.replay().violations(), 2);
    assert_eq!(files.first_violation(), Some((2, "/usr/bin/a\\nb")));
    // Its line extends ones; one that is passed off as a measurement does not replay.
    let zeros = writer::line(
        "ima-ng",
        &[writer::digest("sha256", &[0; 32]), writer::name(b"/usr/bin/c")],
    );
    let passed_off = [&list[..4], &[zeros]].concat();
    assert_eq!(refusal(prove(&passed_off, &list)), "HM-VERIFY-0902");
}

#[test]
fn attack_30_a_weak_bank_proves_no_list() {
    let list = [file(1)];
    let mut values = PcrValues::new();
    let mut replay = ImaReplay::at_boot(HashAlg::Sha1);
    replay.extend(&ImaList::binary(&list[0]).lines().next().unwrap().unwrap());
    values.insert(HashAlg::Sha1, 10, replay.value().to_vec()).unwrap();
    assert_eq!(refusal(measured_files(list.concat(), None, &values)), "HM-VERIFY-0901");
    // In a bank that the kernel left at zeros, none of its lines is proven.
    let lines = |register: Vec<u8>| {
        let values = registers(10..11, |_| register.clone());
        measured_files(list.concat(), None, &values).unwrap().line_count()
    };
    assert_eq!(lines(vec![0; 32]), 0);
    assert_eq!(lines(register(&list)), 1);
}

/// PCR 10 of a kernel before 5.8: the SHA-1 of each line in every bank, with zeros behind it.
fn padded_register(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![0; 32];
    for event in ImaList::binary(&lines.concat()).lines() {
        let mut digest = match event.as_ref().unwrap().is_violation() {
            true => vec![0xff; 20],
            false => HashAlg::Sha1.digest(&event.unwrap().data),
        };
        digest.resize(32, 0);
        value = HashAlg::Sha256.digest(&[value, digest].concat());
    }
    value
}

#[test]
fn a_kernel_before_5_8_is_refused_with_that_cause() {
    use hallmark_reason::Report;
    let list = [aggregate(&firmware()), file(1), violation("/usr/bin/a"), file(2)];
    let prove_register = |value: Vec<u8>| {
        let mut values = firmware();
        values.insert(HashAlg::Sha256, 10, value).unwrap();
        measured_files(list.concat(), None, &values)
    };
    assert!(prove_register(register(&list)).is_ok());
    // The whole list, and one that grew behind its quote.
    for count in 1..=list.len() {
        let error = prove_register(padded_register(&list[..count])).unwrap_err();
        let told = Report(&error).to_string();
        assert!(told.starts_with("HM-VERIFY-0905: "), "{told}");
        assert!(told.contains("older than Linux 5.8"), "{told}");
    }
    // Anything else is what it was: a list that does not lead to the register.
    let mut swapped = list.clone();
    swapped.swap(1, 3);
    assert_eq!(refusal(prove_register(padded_register(&swapped))), "HM-VERIFY-0902");
}

proptest! {
    #[test]
    fn in_parts_or_whole_the_same_is_proven(count in 1..20_u8, cut in 0..20_usize) {
        let list: Vec<Vec<u8>> = (0..count).map(file).collect();
        let cut = cut.min(list.len());
        let whole = prove(&list, &list).unwrap();
        let first = prove(&list[..cut], &list[..cut]).unwrap();
        let second = prove_from(Some(first.replay().clone()), &list[cut..], &list).unwrap();
        prop_assert_eq!(second.replay(), whole.replay());
        prop_assert_eq!([names(&first), names(&second)].concat(), names(&whole));
    }
}
