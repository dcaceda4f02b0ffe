//! Real boots.

use std::{fs, path::PathBuf};

use hallmark_reason::Coded as _;
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::boot::{BootError, BootFacts, measured_boot};

pub(crate) fn vector(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measured-boot");
    fs::read(root.join(name)).unwrap()
}

/// PCR 0 to 15 of the SHA-256 bank as they were read on the machine.
pub(crate) fn registers(boot: &str) -> PcrValues {
    let text = String::from_utf8(vector(&format!("{boot}/pcrs.txt"))).unwrap();
    let mut values = PcrValues::new();
    for line in text.lines() {
        let (register, value) = line.split_once(' ').unwrap();
        let (bank, pcr) = register.split_once(':').unwrap();
        let (bank, pcr) = (HashAlg::from_name(bank).unwrap(), pcr.parse().unwrap());
        if bank == HashAlg::Sha256 && pcr < 16 {
            values
                .insert(bank, pcr, hex::decode(value.to_lowercase()).unwrap())
                .unwrap();
        }
    }
    values
}

pub(crate) fn facts(boot: &str) -> BootFacts {
    let log = vector(&format!("{boot}/eventlog.bin"));
    let measured = measured_boot(Some(&log), None, &registers(boot)).unwrap().unwrap();
    measured.facts().clone()
}

#[test]
fn a_boot_with_secure_boot_says_so() {
    let facts = facts("sb-on");
    assert_eq!((facts.secure_boot, facts.setup_mode), (Some(true), Some(false)));
    assert_eq!((facts.debug, facts.dma_protection_disabled), (Some(false), false));
    let pem = String::from_utf8(vector("db.crt")).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let db = hex::encode(HashAlg::Sha256.digest(&pem.contents));
    assert_eq!(facts.db.as_ref().unwrap().certificates[0].sha256, db);
    assert_eq!(facts.authorities.len(), 1);
    assert_eq!(
        (facts.authorities[0].variable.as_str(), &facts.authorities[0].sha256),
        ("db", &db)
    );
    assert!(!facts.authorities[0].subject.is_empty());
    assert_eq!(
        facts.dbx.as_ref().unwrap().hashes,
        u32::try_from(facts.dbx_hashes.len()).unwrap()
    );
    assert!(facts.doubts.is_empty() && facts.unexpected.is_empty(), "{facts:#?}");
    assert!(facts.exit_boot_services);
    assert_eq!(facts.scrtm_version.as_deref(), Some("0000"));
}

#[test]
fn a_boot_without_secure_boot_says_so() {
    let facts = facts("base");
    assert_eq!((facts.secure_boot, facts.setup_mode), (Some(false), Some(true)));
    assert!(facts.authorities.is_empty());
    assert!(facts.doubts.is_empty() && facts.unexpected.is_empty(), "{facts:#?}");
}

#[test]
fn sections_and_images_tell_boots_apart() {
    let (base, again) = (facts("base"), facts("base-again"));
    assert_eq!(
        base.uki_sections.keys().collect::<Vec<_>>(),
        [".cmdline", ".initrd", ".linux", ".osrel"]
    );
    assert_eq!(base, again, "the same image on another machine");
    let changed = |boot: &str| {
        let other = facts(boot);
        let sections = base
            .uki_sections
            .iter()
            .filter(|(name, digest)| other.uki_sections[*name] != **digest);
        let sections: Vec<_> = sections.map(|(name, _)| name.clone()).collect();
        (sections, base.images == other.images)
    };
    assert_eq!(changed("cmdline"), (vec![".cmdline".to_owned()], false));
    assert_eq!(changed("initrd"), (vec![".initrd".to_owned()], false));
    let cmdline = vector("base/cmdline");
    let digest = &base.uki_sections[".cmdline"];
    let forms = [
        cmdline.trim_ascii_end().to_vec(),
        [cmdline.trim_ascii_end(), &[0]].concat(),
        cmdline.clone(),
    ];
    assert!(
        forms
            .iter()
            .any(|form| hex::encode(HashAlg::Sha256.digest(form)) == *digest)
    );
}

#[test]
fn every_boot_holds_and_the_same_evidence_gives_the_same_bytes() {
    for boot in [
        "base",
        "base-again",
        "cmdline",
        "http",
        "initrd",
        "min",
        "noima",
        "sb-on",
        "second-boot",
    ] {
        let once = serde_json::to_string(&facts(boot)).unwrap();
        assert_eq!(once, serde_json::to_string(&facts(boot)).unwrap());
        let read: BootFacts = serde_json::from_str(&once).unwrap();
        assert_eq!(read, facts(boot));
    }
}

#[test]
fn logs_that_are_not_the_machines_are_refused() {
    let refused = |log: &str, registers_of: &str| {
        let error = measured_boot(Some(&vector(log)), None, &registers(registers_of)).expect_err("accepted");
        (error.code().to_string(), error)
    };
    assert_eq!(refused("neg/base-truncated.bin", "base").0, "HM-EVID-0102");
    let (code, error) = refused("neg/base-digest-flipped.bin", "base");
    assert_eq!(code, "HM-VERIFY-0703");
    assert!(matches!(error, BootError::Pcr { pcr: 11, .. }), "{error:?}");
    let (code, error) = refused("cmdline/eventlog.bin", "base");
    assert_eq!(code, "HM-VERIFY-0703");
    assert!(matches!(error, BootError::Pcr { pcr: 4, .. }), "{error:?}");
    assert!(error.compared().unwrap().starts_with("quoted "));
}
