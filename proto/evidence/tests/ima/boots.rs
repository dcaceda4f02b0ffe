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
                    event.recorded,
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
