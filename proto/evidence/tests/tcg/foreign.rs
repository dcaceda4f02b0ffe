//! Logs of real machines and clouds, published by other projects. They are read from the folder that
//! `HALLMARK_FOREIGN_VECTORS` names, and are no part of this one.

use std::{fs, path::PathBuf, process::Command};

use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::HashAlg;

use crate::boots::{BOOTS, vector};

fn foreign() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("HALLMARK_FOREIGN_VECTORS") else {
        eprintln!("skipped: HALLMARK_FOREIGN_VECTORS names no folder with other projects' logs");
        return Vec::new();
    };
    let entries = fs::read_dir(PathBuf::from(folder).join("eventlogs")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The registers that `tpm2_eventlog`, an independent program, computes: `(bank, register, value)`.
fn tpm2_eventlog(file: &PathBuf) -> Option<Vec<(HashAlg, u8, Vec<u8>)>> {
    let output = Command::new("tpm2_eventlog")
        .arg(file)
        .output()
        .expect("tpm2-tools are installed");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, registers) = text.split_once("\npcrs:\n").unwrap_or(("", ""));
    let (mut bank, mut all) = (None, Vec::new());
    for line in registers.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_suffix(':') {
            bank = HashAlg::from_name(name);
        } else if let (Some(bank), Some((pcr, value))) = (bank, line.split_once(':')) {
            let value = hex::decode(value.trim().trim_start_matches("0x")).unwrap();
            all.push((bank, pcr.trim().parse().unwrap(), value));
        }
    }
    Some(all)
}

#[test]
fn every_log_is_read_as_tpm2_eventlog_reads_it_or_refused_with_a_reason() {
    let own = BOOTS.iter().map(|boot| vector(boot).join("eventlog.bin"));
    let mut agreed = 0;
    for file in own.chain(foreign()) {
        let bytes = fs::read(&file).unwrap();
        let name = file.display();
        match TcgLog::parse(&bytes) {
            Ok(log) => {
                let replay = Replay::of(&log);
                let Some(theirs) = tpm2_eventlog(&file) else {
                    println!("{name}: {} events; tpm2_eventlog does not read it", log.events().len());
                    continue;
                };
                for (bank, pcr, value) in theirs {
                    assert_eq!(replay.value(bank, pcr), Some(value.as_slice()), "{name} {bank}:{pcr}");
                    agreed += 1;
                }
            }
            Err(error) => println!("{name}: {}: {error}", error.code()),
        }
    }
    assert!(agreed >= BOOTS.len() * 18, "{agreed}");
}
