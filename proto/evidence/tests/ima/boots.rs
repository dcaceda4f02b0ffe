//! Lists of real boots.

use std::{fs, path::PathBuf};

use hallmark_evidence::ima::{ImaForm, ImaList, ImaReplay};
use hallmark_tpm_wire::HashAlg;

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

fn vector(boot: &str, file: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measured-boot");
    root.join(boot).join(file)
}

/// PCR 10 of both banks from lines `sha256:10 HEX`; none where the file does not exist.
fn register(boot: &str, file: &str) -> Vec<(HashAlg, Vec<u8>)> {
    let text = fs::read_to_string(vector(boot, file)).unwrap_or_default();
    let parse = |line: &str| {
        let (register, value) = line.split_once(' ')?;
        let (bank, pcr) = register.split_once(':')?;
        (pcr == "10").then(|| {
            (
                HashAlg::from_name(bank).unwrap(),
                hex::decode(value.to_lowercase()).unwrap(),
            )
        })
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn both_forms_of_every_list_say_the_same() {
    let mut lines = 0;
    for boot in BOOTS {
        let (binary, ascii) = (
            fs::read(vector(boot, "ima.bin")).unwrap(),
            fs::read(vector(boot, "ima.ascii")).unwrap(),
        );
        let (binary, ascii) = (ImaList::new(&binary), ImaList::new(&ascii));
        assert_eq!((binary.form(), ascii.form()), (ImaForm::Binary, ImaForm::Ascii));
        let read = |list: ImaList<'_>| {
            let events = list.lines().map(|event| {
                let event = event.unwrap();
                (
                    event.pcr,
                    event.template.name().to_owned(),
                    event.recorded.to_vec(),
                    event.data.to_vec(),
                    event.shown_name(),
                )
            });
            events.collect::<Vec<_>>()
        };
        let (binary, ascii) = (read(binary), read(ascii));
        assert_eq!(binary, ascii, "{boot}");
        assert_eq!(binary[0].4, "boot_aggregate", "{boot}");
        lines += binary.len();
    }
    assert!(lines > 200, "{lines}");
}

/// Registers were read while the list grew, so some prefix of it gives each of them.
#[test]
fn a_prefix_of_every_list_gives_the_register() {
    let mut found = 0;
    for boot in BOOTS {
        let bytes = fs::read(vector(boot, "ima.bin")).unwrap();
        for file in ["pcrs.txt", "pcrs-after.txt"] {
            for (bank, value) in register(boot, file) {
                let mut replay = ImaReplay::at_boot(bank);
                let prefix = ImaList::new(&bytes).lines().find_map(|event| {
                    replay.extend(&event.unwrap());
                    (replay.value() == value).then(|| replay.lines())
                });
                assert!(prefix.is_some_and(|lines| lines >= 1), "{boot} {file} {bank}");
                found += 1;
            }
        }
    }
    assert!(found >= 18, "{found}");
}

/// The lines again, each with the template hash of a bank: what `binary_` and `ascii_runtime_measurements_sha256` have.
fn of_bank(boot: &str, bank: HashAlg) -> (Vec<u8>, Vec<u8>) {
    let (bytes, text) = (
        fs::read(vector(boot, "ima.bin")).unwrap(),
        fs::read_to_string(vector(boot, "ima.ascii")).unwrap(),
    );
    let (mut binary, mut ascii) = (Vec::new(), Vec::new());
    for (event, line) in ImaList::new(&bytes).lines().map(Result::unwrap).zip(text.lines()) {
        let hash = match event.is_violation() {
            true => vec![0; bank.digest_len()],
            false => bank.digest(&event.data),
        };
        let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
        binary.extend_from_slice(&event.pcr.to_le_bytes());
        binary.extend_from_slice(&hash);
        binary.extend_from_slice(&sized(event.template.name().as_bytes()));
        binary.extend_from_slice(&sized(&event.data));
        let line = line.replacen(&hex::encode(&event.recorded), &hex::encode(&hash), 1);
        ascii.extend_from_slice((line + "\n").as_bytes());
    }
    (binary, ascii)
}

#[test]
fn the_list_of_each_bank_says_what_the_list_says() {
    let bytes = fs::read(vector("base", "ima.bin")).unwrap();
    let register = |list: ImaList<'_>, bank| {
        let mut replay = ImaReplay::at_boot(bank);
        list.lines().for_each(|event| replay.extend(&event.unwrap()));
        (replay.lines(), replay.value().to_vec())
    };
    for bank in HashAlg::ALL {
        let (binary, ascii) = of_bank("base", bank);
        for (list, form) in [(&binary, ImaForm::Binary), (&ascii, ImaForm::Ascii)] {
            let list = ImaList::new(list);
            assert_eq!(list.form(), form);
            assert!(list.lines().all(|event| event.unwrap().hash == bank), "{bank} {form:?}");
            for other in HashAlg::ALL {
                let expected = register(ImaList::new(&bytes), other);
                assert_eq!(register(list, other), expected, "{bank} {form:?} {other}");
            }
        }
        // Another bank's hash, where the line's own is expected.
        let first = binary[4];
        let mut changed = binary.clone();
        changed[4] = !first;
        assert!(ImaList::new(&changed).lines().next().unwrap().is_err(), "{bank}");
        let mixed = [binary, of_bank("base", HashAlg::Sha1).0].concat();
        let all = ImaList::new(&mixed).lines().all(|event| event.is_ok());
        assert_eq!(all, bank == HashAlg::Sha1, "{bank}: one list has one bank");
    }
}
