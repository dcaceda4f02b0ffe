//! `hallmark evidence explain --eventlog`: logs of which there is no quote, as network boots often leave them.

use std::collections::BTreeMap;
use std::fs;

use hallmark_tpm_wire::HashAlg;
use serde_json::Value;

use crate::evidence::{hallmark, json, vectors};
use crate::run::Done;

fn explain(arguments: &[(&str, &str)], form: &[&str]) -> Done {
    let mut words = vec!["evidence", "explain"];
    words.extend(arguments.iter().flat_map(|(option, value)| [*option, *value]));
    words.extend(form);
    hallmark(&words)
}

fn file(boot: &str, name: &str) -> String {
    vectors().join(boot).join(name).display().to_string()
}

/// The registers of the machine, as it read them.
fn registers(boot: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file(boot, "pcrs.txt")).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(register, value)| (register.to_owned(), value.to_lowercase()))
        .collect()
}

fn replayed(report: &Value) -> BTreeMap<String, String> {
    let pcrs = report["pcrs"].as_array().unwrap().iter();
    pcrs.map(|it| {
        let name = format!("{}:{}", it["bank"].as_str().unwrap(), it["pcr"]);
        (name, it["replayed"].as_str().unwrap().to_owned())
    })
    .collect()
}

/// Every form says that nothing is proven, and none has a verdict.
fn assert_unproven(arguments: &[(&str, &str)]) -> Value {
    let done = explain(arguments, &["-o", "json"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let report = json(&done);
    assert_eq!(report["proven"], false);
    assert!(report["note"].as_str().unwrap().contains("no quote"));
    for verdict in ["verdict", "checks", "reasons", "facts", "quote"] {
        assert!(report.get(verdict).is_none(), "{verdict}");
    }
    let events = report["events"].as_array().unwrap();
    assert!(!events.is_empty() && events.iter().all(|event| event["authenticated"] == false));
    let table = explain(arguments, &[]);
    assert_eq!(table.code, 0);
    assert!(table.stdout.starts_with("UNPROVEN "), "{}", table.stdout);
    assert!(
        table.stdout.contains("REPLAYED, NOT QUOTED") && table.stdout.contains("\nunproven, if "),
        "{}",
        table.stdout
    );
    assert!(
        !table.stdout.contains("verified") && !table.stdout.contains("trusted"),
        "{}",
        table.stdout
    );
    let yaml = explain(arguments, &["-o", "yaml"]);
    assert!(
        yaml.code == 0 && yaml.stdout.contains("proven: false"),
        "{}",
        yaml.stdout
    );
    report
}

#[test]
fn logs_alone_are_decoded_and_replayed_and_nothing_is_proven() {
    // Two of them were never quoted.
    for boot in ["http", "min", "base", "sb-on"] {
        let (log, list) = (file(boot, "eventlog.bin"), file(boot, "ima.bin"));
        let report = assert_unproven(&[("--eventlog", &log), ("--ima", &list)]);
        let (ours, theirs) = (replayed(&report), registers(boot));
        let compared = ours
            .iter()
            .filter(|(name, _)| *name != "sha1:10" && *name != "sha256:10");
        let mut count = 0;
        for (name, value) in compared {
            assert_eq!(Some(value), theirs.get(name), "{boot} {name}");
            count += 1;
        }
        assert!(count >= 18, "{boot}: {count}");
        assert_eq!(report["unproven_facts"]["secure_boot"], boot == "sb-on", "{boot}");
        assert_eq!(report["ima"]["boot_aggregate"], "matches", "{boot}");
        assert_eq!(report["ima"]["proven_lines"], 0);
        let alone = assert_unproven(&[("--eventlog", &log)]);
        assert_eq!(alone["ima"], Value::Null);
        assert_eq!(alone["unproven_facts"]["images"], report["unproven_facts"]["images"]);
    }
}

#[test]
fn what_user_space_measured_is_replayed_behind_the_firmware() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("tpm2-measure.log").display().to_string();
    let digest = hex::encode(HashAlg::Sha256.digest(b"enter-initrd"));
    let record = format!(
        "\u{1e}{{\"pcr\":11,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\
         \"content\":{{\"string\":\"enter-initrd\"}}}}\n"
    );
    fs::write(&words, record).unwrap();
    let log = file("base", "eventlog.bin");
    let before = assert_unproven(&[("--eventlog", &log)]);
    let report = assert_unproven(&[("--eventlog", &log), ("--systemd-log", &words)]);
    assert_eq!(report["unproven_facts"]["phases"], serde_json::json!(["enter-initrd"]));
    let (before, after) = (replayed(&before), replayed(&report));
    let differ: Vec<_> = after
        .keys()
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    assert_eq!(differ, ["sha256:11"]);
}

/// Whoever writes a log writes what they like: a made-up one is explained like a true one, and is as little proven. What cannot
/// be read is told, with another exit code.
#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let log = fs::read(file("base", "eventlog.bin")).unwrap();
    let other = file("sb-on", "ima.bin");
    let good = put("good", &log);
    let report = assert_unproven(&[("--eventlog", &good), ("--ima", &other)]);
    assert_eq!(report["ima"]["boot_aggregate"], "differs");
    let mut made_up = log.clone();
    let last = made_up.len() - 1;
    made_up[last] ^= 1;
    assert_unproven(&[("--eventlog", &put("made-up", &made_up))]);
    let refused = |arguments: &[(&str, &str)], code: &str| {
        let done = explain(arguments, &["-o", "json"]);
        assert_eq!(done.code, 5, "{code}: {}", done.stdout);
        let report = json(&done);
        let faults: Vec<_> = report["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["code"].clone())
            .collect();
        assert_eq!(
            (report["proven"].as_bool(), faults),
            (Some(false), vec![Value::from(code)])
        );
    };
    refused(&[("--eventlog", &put("cut", &log[..log.len() - 7]))], "HM-EVID-0102");
    refused(&[("--eventlog", &put("empty", b""))], "HM-EVID-0101");
    refused(
        &[("--eventlog", &good), ("--systemd-log", &put("words", b"hello"))],
        "HM-EVID-0201",
    );
    let list = fs::read(&other).unwrap();
    refused(
        &[("--eventlog", &good), ("--ima", &put("list", &list[..list.len() - 7]))],
        "HM-EVID-0301",
    );
    for arguments in [
        &[("--ima", other.as_str())][..],
        &[("--eventlog", &good), ("--policy", "p.toml")],
        &[("--eventlog", &good), ("--anchors", "roots.pem")],
    ] {
        assert_eq!(explain(arguments, &[]).code, 2, "{arguments:?}");
    }
    assert_eq!(explain(&[("--eventlog", "/nowhere")], &[]).code, 2);
}
