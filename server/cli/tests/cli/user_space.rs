//! `hallmark evidence` over a boot whose user space measured too, and wrote systemd's log of it.

use std::{fs, path::Path};

use hallmark_evidence::systemd::SystemdLog;
use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_tpm_wire::{Attest, HashAlg};
use hallmark_verify::testing::{ChallengeParts, SoftwareMachine, VendorCa};

use crate::evidence::{failed, hallmark, json, vectors};
use crate::run::Done;

const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
const QUOTED: std::ops::Range<u8> = 0..16;

fn records(phases: &[&str]) -> String {
    let record = |phase: &&str| {
        let digest = hex::encode(HashAlg::Sha256.digest(phase.as_bytes()));
        format!(
            "\u{1e}{{\"pcr\":11,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\
             \"content_type\":\"systemd\",\"content\":{{\"string\":\"{phase}\",\"eventType\":\"phase\"}}}}\n"
        )
    };
    phases.iter().map(record).collect()
}

/// What tpm2-tools would leave in `folder` of such a boot; gives what its quote is qualified by.
fn boots(folder: &Path) -> String {
    let (log, user_space) = (fs::read(vectors().join("base/eventlog.bin")).unwrap(), records(&PHASES));
    let mut replay = Replay::of(&TcgLog::parse(&log).unwrap());
    SystemdLog::parse(user_space.as_bytes()).unwrap().extend(&mut replay);
    let mut machine = SoftwareMachine::new(&VendorCa::new());
    for pcr in QUOTED {
        let value = replay.value(HashAlg::Sha256, pcr).unwrap().to_vec();
        machine.pcrs.insert((HashAlg::Sha256.id(), pcr), value);
    }
    let challenge = ChallengeParts {
        nonce: [7; 32],
        credential: None,
        selection: vec![(HashAlg::Sha256.id(), QUOTED.collect())],
    };
    let quote = machine.prove(&challenge, &[0; 32]).quote;
    for (name, bytes) in [
        ("ak", &machine.ak.public.marshal()),
        ("quote", &quote.attest),
        ("signature", &quote.signature),
        ("eventlog", &log),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    hex::encode(&Attest::parse(&quote.attest).unwrap().extra_data)
}

/// Imports the boot with `user_space` as its log, if any, and explains it.
fn explained(folder: &Path, qualification: &str, user_space: Option<&str>) -> Done {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut arguments: Vec<String> = ["evidence", "import", "--qualification", qualification]
        .map(String::from)
        .to_vec();
    for (option, name) in [
        ("--ak-public", "ak"),
        ("--quote", "quote"),
        ("--signature", "signature"),
        ("--eventlog", "eventlog"),
        ("-o", "boot.evidence"),
    ] {
        arguments.extend([option.to_owned(), file(name)]);
    }
    if let Some(user_space) = user_space {
        fs::write(folder.join("tpm2-measure.log"), user_space).unwrap();
        arguments.extend(["--systemd-log".to_owned(), file("tpm2-measure.log")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = hallmark(&arguments);
    assert_eq!(done.code, 0, "{}", done.stderr);
    hallmark(&["evidence", "explain", &file("boot.evidence"), "-o", "json"])
}

#[test]
fn what_user_space_measured_is_proven_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let qualification = boots(folder.path());
    let done = explained(folder.path(), &qualification, Some(&records(&PHASES)));
    assert_eq!(done.code, 0, "{}", done.stdout);
    let report = json(&done);
    assert_eq!(report["facts"]["phases"], serde_json::json!(PHASES));
    let events = report["events"].as_array().unwrap();
    let user_space: Vec<_> = events.iter().filter(|event| event["log"] == "systemd").collect();
    assert_eq!((events.len(), user_space.len()), (37 + PHASES.len(), PHASES.len()));
    assert!(
        user_space
            .iter()
            .all(|event| event["pcr"] == 11 && event["authenticated"] == true),
        "{user_space:?}"
    );
    let pcrs = report["pcrs"].as_array().unwrap();
    assert!(
        pcrs.iter()
            .filter(|pcr| pcr["pcr"] != 10)
            .all(|pcr| pcr["agrees"] == true)
    );
}

#[test]
fn a_log_that_is_not_what_user_space_measured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let qualification = boots(folder.path());
    let whole = records(&PHASES);
    let edited = whole.replace("\"leave-initrd\"", "\"enter-initrd\"");
    let fewer = records(&PHASES[..3]);
    for (what, log, expected) in [
        ("withheld", None, vec!["registers HM-VERIFY-0516"]),
        ("cut short", Some(fewer.as_str()), vec!["registers HM-VERIFY-0516"]),
        (
            "cut in a record",
            Some(&whole[..whole.len() - 20]),
            vec!["systemd-log HM-EVID-0201", "registers HM-VERIFY-0516"],
        ),
        (
            "another file",
            Some("hello"),
            vec!["systemd-log HM-EVID-0201", "registers HM-VERIFY-0516"],
        ),
    ] {
        let done = explained(folder.path(), &qualification, log);
        assert_eq!(done.code, 5, "{what}: {}", done.stdout);
        assert_eq!(failed(&json(&done)), expected, "{what}");
    }
    // The digests hold, and the words beside them do not: they are shown as unproven, and no fact comes of them.
    let report = json(&explained(folder.path(), &qualification, Some(&edited)));
    assert_eq!(
        report["facts"]["phases"],
        serde_json::json!(["enter-initrd", "sysinit", "ready"])
    );
    let liar = &report["events"][37 + 1];
    assert_eq!(
        (liar["log"].as_str(), liar["authenticated"].as_bool()),
        (Some("systemd"), Some(false))
    );
}
