//! The IMA list in both forms: lines are written back byte for byte, and both forms of one line say the same.
#![no_main]

use hallmark_evidence::ima::{Field, ImaEvent, ImaForm, ImaList, ImaReplay};
use hallmark_tpm_wire::HashAlg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // A line whose hash does not fit is refused before much of it is looked at.
    let repaired = repaired(bytes);
    if repaired != bytes {
        read(&repaired);
    }
});

/// A binary list, each line with the hash that its fields have.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let sized = |at: usize| -> Option<usize> {
        let length = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        (at + 4).checked_add(usize::try_from(length).ok()?)
    };
    let mut at = 0;
    while let Some(name_end) = sized(at + 24) {
        let Some(end) = sized(name_end).filter(|end| *end <= bytes.len()) else {
            break;
        };
        let hash = HashAlg::Sha1.digest(&bytes[name_end + 4..end]);
        // Violations stay what they are.
        if out[at + 4..at + 24] != [0; 20] {
            out[at + 4..at + 24].copy_from_slice(&hash);
        }
        at = end;
    }
    out
}

fn read(bytes: &[u8]) {
    let list = ImaList::new(bytes);
    let mut lines = list.lines();
    let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
    let (mut before, mut taken, mut failed) = (0, 0, false);
    while let Some(line) = lines.next() {
        let Ok(event) = line else {
            failed = true;
            continue;
        };
        assert!(!failed, "nothing comes after an error");
        assert_eq!(event.line, taken);
        taken += 1;
        let after = usize::try_from(lines.bytes_read()).expect("it fits into memory");
        check(&event, list.form(), &bytes[before..after]);
        before = after;
        replay.extend(&event);
    }
    assert!(failed || before == bytes.len());
    assert_eq!(replay.lines(), taken);
    assert_eq!(replay.value().len(), 32);
}

fn check(event: &ImaEvent<'_>, form: ImaForm, line: &[u8]) {
    assert!(event.is_violation() || event.hash.digest(&event.data) == *event.recorded);
    for bank in [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384] {
        assert_eq!(event.extension(bank).len(), bank.digest_len());
    }
    assert!(event.shown_name().chars().all(|c| !c.is_control()));
    if event.template.name() == "ima" {
        return;
    }
    let binary = binary(event);
    if form == ImaForm::Binary {
        assert_eq!(binary, line);
    } else {
        same(event, ImaList::binary(&binary));
    }
    if let Some(ascii) = ascii(event) {
        same(event, ImaList::new(&ascii));
    }
}

/// The one line of `list` is `event`.
fn same(event: &ImaEvent<'_>, list: ImaList<'_>) {
    let mut lines = list.lines();
    let other = lines.next().expect("a line").expect("a good line");
    assert_eq!(
        ImaEvent {
            line: event.line,
            ..other
        },
        *event
    );
    assert!(lines.next().is_none());
}

/// `binary_runtime_measurements` (Linux, `ima_measurements_show`).
fn binary(event: &ImaEvent<'_>) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_le_bytes()[..], bytes].concat();
    [
        &event.pcr.to_le_bytes()[..],
        &event.recorded,
        &sized(event.template.name().as_bytes()),
        &sized(&event.data),
    ]
    .concat()
}

/// `ascii_runtime_measurements` (Linux, `ima_ascii_measurements_show`); `None` where that form cannot say it: a name with
/// a line's end in it, two names, or fields that have another form there.
fn ascii(event: &ImaEvent<'_>) -> Option<Vec<u8>> {
    let mut line = format!("{:2} {} {}", event.pcr, hex(&event.recorded), event.template.name()).into_bytes();
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let mut data = &event.data[..];
    let mut names = 0;
    for field in event.template.fields() {
        let (length, rest) = data.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        data = rest;
        line.push(b' ');
        match field {
            Field::DigestNg | Field::DigestNgV2 => {
                let at = bytes.iter().position(|byte| *byte == 0)?;
                line.extend_from_slice(&bytes[..at]);
                line.extend_from_slice(hex(&bytes[at + 1..]).as_bytes());
            }
            Field::NameNg => {
                names += 1;
                line.extend_from_slice(bytes.strip_suffix(&[0])?);
            }
            Field::Signature | Field::Buffer => line.extend_from_slice(hex(bytes).as_bytes()),
            _ => return None,
        }
    }
    if names != 1 || line.contains(&b'\n') {
        return None;
    }
    line.push(b'\n');
    Some(line)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
