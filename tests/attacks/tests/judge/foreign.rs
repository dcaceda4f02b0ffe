//! Healthy logs of real machines and clouds, published by other projects: `consistent` holds, or its reason says what firmware
//! does this. They are read from the folder that `HALLMARK_FOREIGN_VECTORS` names, and are no part of this one.

use std::path::PathBuf;

use hallmark_evidence::tcg::{EventKind, TcgLog};
use hallmark_tpm_wire::HashAlg;

use crate::scene::{Logs, Scene};

/// Complete logs of the SHA-256 bank: the firmware ended each of its registers.
fn complete() -> Option<Vec<(String, Vec<u8>)>> {
    let Some(folder) = std::env::var_os("HALLMARK_FOREIGN_VECTORS") else {
        eprintln!("SKIPPED: HALLMARK_FOREIGN_VECTORS is not set, no log of another machine was judged");
        return None;
    };
    let folder = PathBuf::from(folder).join("eventlogs");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |file: PathBuf| {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let log = TcgLog::parse(&bytes)
            .ok()
            .filter(|log| log.banks().contains(&HashAlg::Sha256))?;
        let ends = |pcr: u32| {
            let mut events = log.events().iter();
            events.any(|event| event.pcr == pcr && event.kind == EventKind::SEPARATOR)
        };
        (0..8).all(ends).then_some((name, bytes))
    };
    let mut logs: Vec<_> = files.filter(|file| file.is_file()).filter_map(named).collect();
    logs.sort();
    assert!(!logs.is_empty(), "{}", folder.display());
    Some(logs)
}

#[test]
fn healthy_logs_are_consistent_or_the_reason_names_their_firmware() {
    let Some(logs) = complete() else { return };
    let mut told = 0;
    for (name, bytes) in &logs {
        let logs = Logs::firmware(bytes.clone());
        let appraisal = Scene::under("[boot]\nconsistent = true").show(&logs, &logs).unwrap();
        let Some(reason) = appraisal.refusal() else {
            eprintln!("{name}: consistent");
            continue;
        };
        eprintln!(
            "{name}: {}; {:?} {:?}",
            reason.text, reason.compared, reason.first_event
        );
        assert_eq!(reason.code.as_str(), "HM-POLICY-0127", "{name}");
        assert!(reason.text.contains("firmware of "), "{name}: {}", reason.text);
        told += 1;
    }
    eprintln!(
        "{} complete logs, {told} of them with something that only their firmware explains",
        logs.len()
    );
    assert!(told * 4 <= logs.len(), "{told} of {}", logs.len());
}

/// What authorised images is named by certificates and hashes, never by the SHA-256 of nothing.
#[test]
fn authorities_of_real_machines_are_certificates() {
    let Some(logs) = complete() else { return };
    for (name, bytes) in &logs {
        let logs = Logs::firmware(bytes.clone());
        let appraisal = Scene::new().show(&logs, &logs).unwrap();
        let facts = &appraisal.facts().boot.as_ref().unwrap().facts;
        for authority in &facts.authorities {
            eprintln!(
                "{name}: {} {} {}",
                authority.variable, authority.sha256, authority.subject
            );
            assert!(!authority.sha256.starts_with("e3b0c442"), "{name}");
            assert!(!authority.subject.is_empty(), "{name}: {authority:?}");
        }
        eprintln!("{name}: version {:?}, shim {:?}", facts.scrtm_version, facts.shim);
    }
}
