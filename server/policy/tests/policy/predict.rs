//! Predictions from files: who signed an image, firmware's variables, and files that are not what they seem.
//!
//! `tests/vectors/predict` holds an image that a certificate of the CA in the variables' db signed, one that a stranger
//! signed, and variables as virt-fw-vars writes them.

use std::path::PathBuf;

use hallmark_policy::predict::{Forecast, Inputs, PredictError, predict};
use hallmark_policy::{Baseline, MachineFacts};
use proptest::prelude::*;
use serde_json::Value;

use crate::machine::{boot_of, good, spoiled};

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/vectors/predict")
            .join(name),
    )
    .unwrap()
}

fn with(uki: &[u8], variables: Option<&[u8]>) -> Result<Forecast, PredictError> {
    predict(&Inputs {
        uki,
        firmware_variables: variables,
        ..Inputs::default()
    })
}

/// A PE32+ file with these sections.
fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const HEADERS: usize = 0x400;
    let mut file = vec![0; HEADERS];
    let (mut raw, mut address) = (HEADERS, 0x1000);
    let mut headers = Vec::new();
    let mut bodies = Vec::new();
    for (name, data) in sections {
        let padded = data.len().next_multiple_of(0x200);
        headers.extend(name.bytes().chain([0; 8]).take(8));
        for value in [data.len(), address, padded, raw, 0, 0, 0, 0] {
            headers.extend(u32::try_from(value).unwrap().to_le_bytes());
        }
        headers.truncate(headers.len() - 32 + 28 + 4);
        bodies.extend_from_slice(data);
        bodies.resize(bodies.len().next_multiple_of(0x200), 0);
        raw += padded;
        address = (address + data.len()).next_multiple_of(0x1000);
    }
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x54, &[240]);
    put(OPTIONAL, &0x20b_u16.to_le_bytes());
    put(OPTIONAL + 60, &u32::try_from(HEADERS).unwrap().to_le_bytes());
    put(OPTIONAL + 108, &[16]);
    put(TABLE, &headers);
    file.extend(bodies);
    file
}

const OPTIONAL: usize = 0x58;
const TABLE: usize = OPTIONAL + 240;

/// An image as ukify makes it, with other sections in place of those with the same name, and beside the others.
fn uki(others: &[(&str, &[u8])]) -> Vec<u8> {
    let kernel = image(&[(".text", b"a kernel")]);
    let usual: [(&str, &[u8]); 6] = [
        (".sdmagic", b"#### LoaderInfo: systemd-stub 252.39-1 ####\0"),
        (".osrel", b"ID=edge\n"),
        (".cmdline", b"console=ttyS0 ro"),
        (".uname", b"6.1.0-56-amd64"),
        (".linux", &kernel),
        (".initrd", b"an initrd"),
    ];
    let mut sections: Vec<_> = usual
        .into_iter()
        .filter(|(name, _)| others.iter().all(|it| it.0 != *name))
        .collect();
    sections.extend(others.iter().filter(|(_, data)| !data.is_empty()));
    image(&sections)
}

fn left_out(forecast: &Forecast) -> Vec<(u8, &str)> {
    forecast.left_out.iter().map(|it| (it.pcr, it.why.as_str())).collect()
}

#[test]
fn a_signature_of_a_certificate_below_db_lets_the_image_pass() {
    let (signed, variables) = (vector("signed.efi"), vector("variables.json"));
    let forecast = with(&signed, Some(&variables)).unwrap();
    assert_eq!(
        (forecast.secure_boot, forecast.left_out.as_slice()),
        (Some(true), [].as_slice())
    );
    assert_eq!(forecast.registers.len(), 4);
    // The store and its JSON form say the same, with and without a mark before it.
    let again = with(&signed, Some(&store(&entries(&variables)))).unwrap();
    assert_eq!(again.registers, forecast.registers);
    let marked = [b"\xef\xbb\xbf", &variables[..]].concat();
    assert_eq!(with(&signed, Some(&marked)).unwrap().registers, forecast.registers);
}

#[test]
fn an_image_that_firmware_would_refuse_is_not_predicted() {
    let variables = vector("variables.json");
    let refused = |uki: &[u8], variables: &[u8], expected: &str| match with(uki, Some(variables)) {
        Err(PredictError::NotAuthorised { fault, .. }) => assert!(fault.contains(expected), "{fault}"),
        other => panic!("{expected}: {other:?}"),
    };
    refused(&uki(&[]), &variables, "it is not signed");
    refused(
        &vector("strange.efi"),
        &variables,
        "no certificate of its signature is in db",
    );
    let signed = vector("signed.efi");
    let mut changed = signed.clone();
    let at = changed.windows(9).position(|window| window == b"an initrd").unwrap();
    changed[at] ^= 1;
    refused(&changed, &variables, "changed after it was signed");
    let mut forged = signed.clone();
    // The signature's last bytes, before the padding.
    let at = forged.iter().rposition(|byte| *byte != 0).unwrap();
    forged[at - 8] ^= 1;
    refused(&forged, &variables, "its signature is wrong");
    // What db allows, dbx forbids.
    let mut entries = entries(&variables);
    let db = entries.iter().find(|entry| entry.1 == "db").unwrap().2.clone();
    entries.iter_mut().find(|entry| entry.1 == "dbx").unwrap().2 = db;
    refused(&signed, &store(&entries), "is in dbx");
}

#[test]
fn what_is_not_known_is_left_out_and_said() {
    let stub = |version: u32| format!("#### LoaderInfo: systemd-stub {version}~rc1 ####\0");
    let forecast = with(&uki(&[]), None).unwrap();
    assert_eq!(left_out(&forecast), [(7, "no firmware variables were given")]);
    for (section, pcr) in [
        ((".profile", b"ID=a".as_slice()), 11),
        ((".pcrsig", b"{}"), 9),
        ((".cmdline", b"a\tb"), 9),
        ((".cmdline", b""), 9),
        ((".initrd", b""), 9),
        ((".uname", b"5.15.0"), 9),
    ] {
        let version = if pcr == 11 { 257 } else { 252 };
        let forecast = with(&uki(&[(".sdmagic", stub(version).as_bytes()), section]), None).unwrap();
        assert!(forecast.left_out.iter().any(|it| it.pcr == pcr), "{section:?}");
    }
    // A stub before 254 does not measure .uname; one of 253 perhaps; a later one does.
    let eleven = |version| {
        with(&uki(&[(".sdmagic", stub(version).as_bytes())]), None)
            .unwrap()
            .registers
            .remove("sha256:11")
    };
    assert!(eleven(253).is_none() && eleven(254).is_none());
    assert_ne!(eleven(252), eleven(256));
    // The signature of the measurement is not measured.
    let signed = with(&uki(&[(".pcrsig", b"{}")]), None).unwrap();
    assert_eq!(signed.registers["sha256:11"], forecast.registers["sha256:11"]);
    for version in [251, 261] {
        let unknown = uki(&[(".sdmagic", stub(version).as_bytes())]);
        assert!(
            matches!(with(&unknown, None), Err(PredictError::NoUki { .. })),
            "{version}"
        );
    }
    // Long names stand in the symbols' string table, as linkers write them.
    let mut shim = image(&[(".text", b"shim"), ("/4", b"levels")]);
    let symbols = u32::try_from(shim.len()).unwrap().to_le_bytes();
    shim[0x4c..0x50].copy_from_slice(&symbols);
    shim.extend(b"\x0f\0\0\0.sbatlevel\0");
    let behind_shim = predict(&Inputs {
        uki: &vector("signed.efi"),
        earlier_images: vec![("shim".to_owned(), &shim)],
        firmware_variables: Some(&vector("variables.json")),
        ..Inputs::default()
    });
    assert_eq!(left_out(&behind_shim.unwrap())[0].0, 7);
}

/// The command line and the register are those of an edge image that a machine booted behind Debian's systemd-boot.
#[test]
fn behind_systemd_boot_the_images_own_command_line_is_measured_once_more() {
    let line = b"console=tty0 console=ttyS0 panic=-1 loglevel=4 systemd.show_status=error \
        hallmark.root=c99b585d881bc560a776bdee4753abe7f776354c64f91ca5174bd1de174b928a hallmark.hashes=60215296\0";
    let behind = |loader: &[u8], line: &[u8]| {
        let loader = image(&[(".sdmagic", loader)]);
        predict(&Inputs {
            uki: &uki(&[(".cmdline", line)]),
            earlier_images: vec![("the boot loader".to_owned(), &loader)],
            ..Inputs::default()
        })
        .unwrap()
    };
    let forecast = behind(b"#### LoaderInfo: systemd-boot 252.39-1~deb12u2 ####\0", line);
    let twelve: Vec<_> = forecast.registers["sha256:12"].iter().collect();
    assert_eq!(
        twelve,
        ["c8468e109e1207e76b6450d39bf52aec884971453795edb89ead3ef6b2924850"]
    );
    // Neither of a loader that may do otherwise, nor of a line that it may read otherwise, nor without a loader.
    let newer = behind(b"#### LoaderInfo: systemd-boot 257.9-1 ####\0", line);
    assert!(!newer.registers.contains_key("sha256:12"));
    assert!(
        left_out(&newer)
            .iter()
            .any(|(pcr, why)| *pcr == 12 && why.contains("systemd-boot 257"))
    );
    let blank = behind(b"#### LoaderInfo: systemd-boot 252.39-1 ####\0", b"quiet \0");
    assert!(left_out(&blank).iter().any(|(pcr, _)| *pcr == 12));
    let alone = with(&uki(&[(".cmdline", line)]), None).unwrap();
    assert!(!alone.registers.contains_key("sha256:12"));
    assert!(left_out(&alone).iter().all(|(pcr, _)| *pcr != 12));
}

/// An image with a profile to choose: its sections stand behind a `.profile`, with the names of the image's own.
#[test]
fn an_image_of_several_profiles_leaves_out_what_they_choose() {
    let profiles = |stub: &'static [u8]| {
        uki(&[
            (".sdmagic", stub),
            (".cmdline", b"console=ttyS0 ro"),
            (".uname", b"6.12.0"),
            (".profile", b"ID=main"),
            (".profile", b"ID=debug"),
            (".cmdline", b"console=ttyS0 ro debug"),
            (".uname", b"6.12.0"),
        ])
    };
    let mut variables = entries(&vector("variables.json"));
    variables.retain(|entry| entry.1 != "PK");
    let variables = store(&variables);
    let image = profiles(b"#### LoaderInfo: systemd-stub 257.9-1 ####\0");
    let forecast = with(&image, Some(&variables)).unwrap();
    let why = "the machine chooses among sections .profile";
    assert_eq!(left_out(&forecast), [(9, why), (11, why)]);
    assert_eq!(forecast.registers.keys().collect::<Vec<_>>(), ["sha256:4", "sha256:7"]);
    let one = with(
        &uki(&[(".sdmagic", b"#### LoaderInfo: systemd-stub 257.9-1 ####\0")]),
        Some(&variables),
    )
    .unwrap();
    assert_eq!(one.registers["sha256:7"], forecast.registers["sha256:7"]);
    assert!(one.registers.contains_key("sha256:11"));
    // A stub that knows no profiles, and an image without one, have no use for a second command line.
    for (image, what) in [
        (profiles(b"#### LoaderInfo: systemd-stub 256.1 ####\0"), "an older stub"),
        (uki(&[(".cmdline", b"a"), (".cmdline", b"b")]), "no profile"),
    ] {
        match with(&image, Some(&variables)) {
            Err(PredictError::NoImage { fault, .. }) => assert!(fault.contains("several sections"), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_predicted_boot_explains_where_a_machine_left_it() {
    let forecast = with(&uki(&[]), None).unwrap();
    let baseline = forecast.baseline("next", 1, 0).unwrap();
    assert_eq!(Baseline::from_json(&baseline.to_json()).unwrap(), baseline);
    let machine: MachineFacts = spoiled(|it| {
        for (register, values) in &baseline.registers {
            it.pcrs.insert(register.clone(), values.first().unwrap().clone());
        }
        let boot = it.boot.as_mut().unwrap();
        boot.events.clone_from(&baseline.boots[0].events);
        let theirs = &baseline.boots[0].facts;
        boot.facts.uki_sections.clone_from(&theirs.uki_sections);
        boot.facts.phases.clone_from(&theirs.phases);
        boot_of(it).command_line.clone_from(&theirs.command_line);
    });
    assert!(baseline.is_matched_by(&machine));
    assert!(
        baseline.compare(&machine).to_string().is_empty(),
        "what is not predicted is no difference"
    );
    assert!(!baseline.is_matched_by(&good()));
    let mut other = machine;
    other.boot.as_mut().unwrap().facts.command_line = Some("console=ttyS0 ro evil=1".to_owned());
    assert!(
        baseline.compare(&other).to_string().contains("the kernel command line"),
        "{}",
        baseline.compare(&other)
    );
}

#[test]
fn hostile_images_are_refused() {
    let whole = uki(&[]);
    assert!(with(&whole, None).is_ok());
    let refused = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut file = whole.clone();
        change(&mut file);
        match with(&file, None) {
            Err(error @ PredictError::NoImage { .. }) => assert!(error.to_string().contains(expected), "{error}"),
            other => panic!("{expected}: {other:?}"),
        }
    };
    let set = |at: usize, value: u32| move |file: &mut Vec<u8>| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let second = TABLE + 40;
    refused(&|file| file.truncate(file.len() - 1), "lies outside the file");
    refused(&|file| file[0x46..0x48].fill(0xff), "");
    refused(&|file| file[0x46] = 97, "sections");
    refused(&set(0x3c, u32::MAX), "");
    refused(&set(OPTIONAL + 60, u32::MAX), "headers do not fit");
    refused(&set(OPTIONAL + 60, 0), "headers do not fit");
    refused(&set(OPTIONAL + 108, 4), "");
    refused(&set(OPTIONAL + 112 + 36, u32::MAX), "its signature");
    refused(&set(second + 8, u32::MAX), "bytes of memory");
    refused(&set(second + 16, u32::MAX), "lies outside the file");
    refused(&set(second + 20, u32::MAX), "lies outside the file");
    refused(&set(second + 20, 0x400), "overlap in the file");
    refused(&set(second + 20, 0x200), "overlap in the file");
    refused(&set(second + 12, 0x1000), "overlap in memory");
    refused(&|file| file[OPTIONAL] = 0x0c, "64-bit");
    refused(
        &|file| file.copy_within(TABLE + 80..TABLE + 88, second),
        "several sections .cmdline",
    );
    for length in 0..whole.len() {
        assert!(with(&whole[..length], None).is_err(), "{length}");
    }
}

#[test]
fn variables_that_are_not_what_they_seem_are_refused() {
    let entries = entries(&vector("variables.json"));
    let whole = store(&entries);
    let image = vector("signed.efi");
    assert!(with(&image, Some(&whole)).is_ok());
    let refused = |variables: &[u8], what: &str| match with(&image, Some(variables)) {
        Err(PredictError::Variables { .. }) => {}
        other => panic!("{what}: {other:?}"),
    };
    refused(b"", "nothing");
    refused(b"{}", "JSON without variables");
    refused(br#"{"version": 1, "variables": []}"#, "another version");
    refused(br#"{"version": 2, "variables": [], "more": 1}"#, "an unknown key");
    refused(
        br#"{"version": 2, "variables": [{"name": "a", "guid": "b", "attr": 7, "data": ""}]}"#,
        "no GUID",
    );
    let twice: Vec<_> = entries.iter().chain(&entries).cloned().collect();
    refused(&store(&twice), "twice");
    let mut foreign = whole.clone();
    foreign[72] ^= 1;
    refused(&foreign, "another kind of store");
    let mut long = whole.clone();
    long[72 + 28 + 40..72 + 28 + 44].fill(0xff);
    refused(&long, "a length that is not there");
    for length in 0..whole.len() - 1 {
        refused(&whole[..length], "cut");
    }
}

proptest! {
    #[test]
    fn no_image_and_no_variables_bring_it_down(
        at in 0..5632_usize, value: u8, more in 0..5632_usize, other: u8, place in 0..4000_usize, third: u8,
    ) {
        let (mut image, mut variables) = (vector("signed.efi"), store(&entries(&vector("variables.json"))));
        image[at] = value;
        image[more] = other;
        let _ = with(&image, None);
        let last = variables.len() - 1;
        variables[place.min(last)] = third;
        let _ = with(&image, Some(&variables));
        let _ = with(&vector("signed.efi"), Some(&variables));
    }
}

type Entry = ([u8; 16], String, Vec<u8>);

/// The variables of a JSON file.
fn entries(json: &[u8]) -> Vec<Entry> {
    let file: Value = serde_json::from_slice(json).unwrap();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let entry = |it: &Value| {
        let mut guid = hex::decode(text(it, "guid").replace('-', "")).unwrap();
        guid[..4].reverse();
        guid[4..6].reverse();
        guid[6..8].reverse();
        (
            guid.try_into().unwrap(),
            text(it, "name"),
            hex::decode(text(it, "data")).unwrap(),
        )
    };
    file["variables"].as_array().unwrap().iter().map(entry).collect()
}

/// A store of EDK II with these variables; before each stands what was deleted.
fn store(entries: &[Entry]) -> Vec<u8> {
    let mut variables = Vec::new();
    for (guid, name, data) in entries {
        for state in [0x3c, 0x3f] {
            let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
            variables.extend([0xaa, 0x55, state, 0]);
            variables.extend([0; 32]);
            for length in [name.len(), data.len()] {
                variables.extend(u32::try_from(length).unwrap().to_le_bytes());
            }
            variables.extend(guid);
            variables.extend(name);
            variables.extend(data);
            variables.resize(variables.len().next_multiple_of(4), 0xff);
        }
    }
    variables.extend([0xff; 64]);
    let size = u32::try_from(28 + variables.len()).unwrap().to_le_bytes();
    let mut file = vec![0; 16];
    file.extend(hex::decode("8d2bf1ff96768b4ca9852747075b4f50").unwrap());
    file.extend([0; 8]);
    file.extend(b"_FVH\xff\xfe\x04\x00\x48\x00\x00\x00\x00\x00\x00\x02");
    file.resize(72, 0);
    file.extend(hex::decode("782cf3aa7b949a43a1802e144ec37792").unwrap());
    file.extend(size);
    file.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
    file.extend(variables);
    file
}
