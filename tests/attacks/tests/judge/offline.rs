//! Attacks 38, 39, 47 and 48 on what real TPMs signed: a genuine quote, and logs that are not its machine's.

use hallmark_evidence::{AkPublic, EvidenceFile, Log, LogKind, Signed, Source};
use hallmark_tpm_wire::PcrValues;
use hallmark_verify::offline::judge_file;

use crate::events::{Events, variable};
use crate::scene::{now, vector};

/// What a recorded machine's TPM signed, with the logs of the boot.
fn evidence(boot: &str) -> EvidenceFile {
    let file = |name: &str| vector(&format!("{boot}/{name}"));
    let log = |kind, name: &str| Log::new(kind, 0, file(name)).unwrap();
    EvidenceFile {
        source: Source::Import,
        made_at: "2026-11-23T00:00:00Z".into(),
        ak: AkPublic::Area(file("ak.tpm2b_public")),
        ek_certificate: None,
        ek_chain: Vec::new(),
        quote: Signed {
            attest: file("quote.msg"),
            signature: file("quote.sig"),
        },
        qualification: hex::decode("00112233445566778899aabbccddeeff").unwrap(),
        pcr_values: PcrValues::new(),
        judged: None,
        logs: vec![log(LogKind::Tcg, "eventlog.bin"), log(LogKind::Ima, "ima.bin")],
    }
}

/// `verified`, or the codes of every check that failed.
fn verdict(file: &EvidenceFile) -> String {
    let report = judge_file(file, None, now());
    let codes: Vec<_> = report.checks.iter().filter_map(|check| check.code.clone()).collect();
    if codes.is_empty() {
        report.verdict.into()
    } else {
        codes.join(" ")
    }
}

/// The verdict on the genuine quote of `base` beside this firmware log.
fn beside(tcg: Vec<u8>) -> String {
    let mut file = evidence("base");
    assert_eq!(verdict(&file), "verified");
    file.logs[0].data = tcg;
    verdict(&file)
}

#[test]
fn attack_39_a_genuine_quote_and_a_cut_log() {
    for boot in [
        "base",
        "base-again",
        "cmdline",
        "initrd",
        "noima",
        "sb-on",
        "second-boot",
    ] {
        assert_eq!(verdict(&evidence(boot)), "verified", "{boot}");
    }
    let whole = vector("base/eventlog.bin");
    let rewritten = Events::recorded("base");
    assert_eq!(beside(rewritten.logs().tcg.unwrap()), "verified");
    let mut short = rewritten.clone();
    short.list.pop();
    let mut without_7 = rewritten;
    without_7.list.retain(|event| event.pcr != 7);
    for (what, log, code) in [
        ("cut", whole[..whole.len() - 7].to_vec(), "HM-EVID-0102"),
        // An empty log is none, and so gives no registers.
        ("empty", Vec::new(), "HM-VERIFY-0516"),
        ("recorded: cut", vector("neg/base-truncated.bin"), "HM-EVID-0102"),
        ("the last event gone", short.logs().tcg.unwrap(), "HM-VERIFY-"),
        ("PCR 7 gone", without_7.logs().tcg.unwrap(), "HM-VERIFY-"),
        (
            "recorded: a digest changed",
            vector("neg/base-digest-flipped.bin"),
            "HM-VERIFY-",
        ),
    ] {
        let found = beside(log);
        assert!(found.starts_with(code), "{what}: {found}");
    }
}

#[test]
fn attack_38_a_genuine_quote_and_forged_data() {
    let events = Events::recorded("base");
    let place = events.variable("SecureBoot");
    let lie = events.forged(place, |event| event.data = variable("SecureBoot", &[1]));
    let mut file = evidence("base");
    let honest = judge_file(&file, None, now());
    assert_eq!(honest.facts.unwrap().secure_boot, Some(false));
    file.logs[0].data = lie.logs().tcg.unwrap();
    // Every digest is true, so the log holds; what it says of Secure Boot is not believed.
    let report = judge_file(&file, None, now());
    assert!(report.is_verified());
    assert_eq!(report.facts.unwrap().secure_boot, None);
}

#[test]
fn attack_47_a_genuine_quote_and_another_boots_logs() {
    for (quoted, shown) in [
        ("cmdline", "base"),
        ("initrd", "base"),
        ("sb-on", "base"),
        ("base", "sb-on"),
    ] {
        let (mut file, other) = (evidence(quoted), evidence(shown));
        assert_eq!(verdict(&file), "verified", "{quoted}");
        file.logs = other.logs.clone();
        let found = verdict(&file);
        assert!(found.starts_with("HM-VERIFY-"), "{quoted} as {shown}: {found}");
        // And another machine's quote for the logs.
        file.quote = other.quote;
        assert_eq!(verdict(&file), "HM-VERIFY-0507", "{quoted} signed by {shown}");
    }
}

#[test]
fn attack_48_a_genuine_quote_and_another_list() {
    let mut file = evidence("base");
    assert_eq!(verdict(&file), "verified");
    file.logs[1] = evidence("sb-on").logs.remove(1);
    let found = verdict(&file);
    assert!(found.starts_with("HM-VERIFY-"), "{found}");
    let mut file = evidence("base");
    let cut = file.logs[1].data.len() - 10;
    file.logs[1].data.truncate(cut);
    let found = verdict(&file);
    assert!(found.starts_with("HM-EVID-0301"), "{found}");
}
