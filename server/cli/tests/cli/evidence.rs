//! `hallmark evidence`, as it is typed, over real boots.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::run::Done;

const QUALIFICATION: &str = "00112233445566778899aabbccddeeff";
const QUOTED: [&str; 7] = [
    "base",
    "base-again",
    "cmdline",
    "initrd",
    "noima",
    "sb-on",
    "second-boot",
];

pub(crate) fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measured-boot")
}

pub(crate) fn hallmark(arguments: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(arguments)
        .output()
        .unwrap();
    output.into()
}

/// Imports a boot with one thing changed; gives the file.
pub(crate) fn import(folder: &Path, boot: &str, change: impl FnOnce(&mut Vec<String>)) -> (Done, String) {
    let file = |name: &str| vectors().join(boot).join(name).display().to_string();
    let out = folder.join(format!("{boot}.evidence")).display().to_string();
    let mut arguments: Vec<String> = ["evidence", "import", "--ak-public"].map(String::from).to_vec();
    arguments.push(file("ak.tpm2b_public"));
    for (option, name) in [("--quote", "quote.msg"), ("--signature", "quote.sig")] {
        arguments.extend([option.to_owned(), file(name)]);
    }
    arguments.extend(["--qualification".to_owned(), QUALIFICATION.to_owned()]);
    for (option, name) in [
        ("--eventlog", "eventlog.bin"),
        ("--ima", "ima.bin"),
        ("--ek-cert", "ek.cert.der"),
    ] {
        arguments.extend([option.to_owned(), file(name)]);
    }
    arguments.extend(["-o".to_owned(), out.clone()]);
    change(&mut arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    (hallmark(&arguments), out)
}

fn set(arguments: &mut [String], option: &str, value: impl AsRef<Path>) {
    let at = arguments.iter().position(|argument| argument == option).unwrap();
    arguments[at + 1] = value.as_ref().display().to_string();
}

pub(crate) fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap()
}

pub(crate) fn failed(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let failed = checks.filter(|check| check["holds"] == false);
    failed
        .map(|check| {
            format!(
                "{} {}",
                check["name"].as_str().unwrap(),
                check["code"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn every_real_boot_is_verified_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    for boot in QUOTED {
        let (done, file) = import(folder.path(), boot, |_| {});
        assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
        let done = hallmark(&["evidence", "verify", &file]);
        assert_eq!(done.code, 0, "{boot}: {}{}", done.stdout, done.stderr);
        assert!(
            done.stdout.starts_with("verdict          verified\n"),
            "{}",
            done.stdout
        );
        let done = hallmark(&["evidence", "explain", &file, "-o", "json"]);
        let report = json(&done);
        assert_eq!(report["verdict"], "verified");
        assert_eq!(report["facts"]["secure_boot"], boot == "sb-on", "{boot}");
        assert_eq!(report["events"].as_array().unwrap().len(), 37);
        assert_eq!(report["pcrs"].as_array().unwrap().len(), 16);
        assert!(
            report["pcrs"]
                .as_array()
                .unwrap()
                .iter()
                .all(|pcr| pcr["agrees"] == true),
            "{boot}"
        );
        assert_eq!(report["ima"]["boot_aggregate"], "matches", "{boot}");
        let event = &report["events"][4];
        assert_eq!(
            (event["pcr"].as_u64(), event["type"].as_str()),
            (Some(7), Some("EV_EFI_VARIABLE_DRIVER_CONFIG"))
        );
        assert_eq!(event["authenticated"], true);
        assert_eq!(event["digests"]["sha256"].as_str().unwrap().len(), 64);
        let again = hallmark(&["evidence", "explain", &file, "-o", "json"]);
        assert_eq!(
            done.stdout, again.stdout,
            "the same evidence gives the same report, byte for byte"
        );
        let table = hallmark(&["evidence", "explain", &file]);
        assert!(table.stdout.contains("variable SecureBoot") && table.stdout.contains("sha256:10"));
        let yaml = hallmark(&["evidence", "verify", &file, "-o", "yaml"]);
        assert!(yaml.stdout.contains("verdict: verified"), "{}", yaml.stdout);
    }
}

#[test]
fn the_key_may_come_in_any_form_and_the_list_in_either() {
    let folder = tempfile::tempdir().unwrap();
    let boot = vectors().join("base");
    let area = std::fs::read(boot.join("ak.tpm2b_public")).unwrap();
    let sized = folder.path().join("sized");
    std::fs::write(
        &sized,
        [&u16::try_from(area.len()).unwrap().to_be_bytes()[..], &area].concat(),
    )
    .unwrap();
    for (form, key) in [("pem", boot.join("ak.pem")), ("TPM2B_PUBLIC", sized)] {
        let (done, file) = import(folder.path(), "base", |arguments| {
            set(arguments, "--ak-public", &key);
            set(arguments, "--ima", boot.join("ima.ascii"));
        });
        assert_eq!(done.code, 0, "{form}: {}", done.stderr);
        let done = hallmark(&["evidence", "verify", &file, "-o", "json"]);
        assert_eq!(
            (done.code, json(&done)["verdict"].as_str().unwrap()),
            (0, "verified"),
            "{form}"
        );
    }
    let (done, _) = import(folder.path(), "base", |arguments| {
        set(arguments, "--ak-public", boot.join("ak.name"))
    });
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.contains("HM-CLI-0102") && done.stderr.contains("only a digest of the key"),
        "{}",
        done.stderr
    );
}

/// PEM says nothing of a key's properties; with the Name, which is over them, they are proven.
#[test]
fn the_name_proves_what_pem_does_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let boot = vectors().join("base");
    let both = |name: PathBuf| {
        import(folder.path(), "base", |arguments| {
            set(arguments, "--ak-public", boot.join("ak.pem"));
            arguments.extend(["--ak-public".to_owned(), name.display().to_string()]);
        })
    };
    let (done, file) = both(boot.join("ak.name"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let report = json(&hallmark(&["evidence", "verify", &file, "-o", "json"]));
    let check = &report["checks"][0];
    assert_eq!(
        (check["name"].as_str(), check["holds"].as_bool()),
        (Some("ak"), Some(true)),
        "{check}"
    );
    let name = std::fs::read(boot.join("ak.name")).unwrap();
    assert_eq!(report["ak_name"].as_str().unwrap(), hex::encode(name));

    let (done, _) = both(vectors().join("initrd/ak.name"));
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.contains("it is not the Name of an attestation key"),
        "{}",
        done.stderr
    );
}

/// Nearly every RSA key has its exponent written as 0, others in full: the Name is over either.
#[test]
fn the_name_of_an_rsa_key_fits_too() {
    use hallmark_verify::testing::{ChallengeParts, SoftwareKey, SoftwareMachine, VendorCa};
    let folder = tempfile::tempdir().unwrap();
    let mut machine = SoftwareMachine::new(&VendorCa::new());
    for in_full in [false, true] {
        machine.ak = SoftwareKey::rsa(0x0005_0072, 0x0014);
        if in_full {
            let at = machine.ak.public.parameters.len() - 4;
            machine.ak.public.parameters[at..].copy_from_slice(&65_537_u32.to_be_bytes());
        }
        let challenge = ChallengeParts {
            nonce: [7; 32],
            credential: None,
            selection: vec![(0x000b, vec![7])],
        };
        let quote = machine.prove(&challenge, &[0; 32]).quote;
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let (key, name) = (
            file("spki", &machine.ak.spki()),
            file("name", &machine.ak.public.name()),
        );
        let (attest, signature) = (file("quote", &quote.attest), file("signature", &quote.signature));
        let out = folder.path().join("rsa.evidence").display().to_string();
        let words = [
            "evidence",
            "import",
            "--ak-public",
            &key,
            "--ak-public",
            &name,
            "--quote",
            &attest,
        ];
        let more = ["--signature", &signature, "--qualification", "00", "-o", &out];
        let done = hallmark(&[&words[..], &more].concat());
        assert_eq!(done.code, 0, "{in_full}: {}", done.stderr);
        let report = json(&hallmark(&["evidence", "verify", &out, "-o", "json"]));
        assert_eq!(
            report["ak_name"].as_str().unwrap(),
            hex::encode(machine.ak.public.name())
        );
        assert_eq!(report["checks"][0]["holds"], true, "{report}");
    }
}

/// Values of another time do no harm where the logs prove the quoted ones.
#[test]
fn registers_that_moved_on_do_not_refuse_good_logs() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = import(folder.path(), "base", |arguments| {
        let values = vectors().join("base/pcrs-after.txt").display().to_string();
        arguments.extend(["--pcrs".to_owned(), values]);
    });
    let done = hallmark(&["evidence", "verify", &file, "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.stdout);
}

/// When an imported quote was taken nobody saw: a rule about its age does not hold.
#[test]
fn the_age_of_an_imported_quote_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = import(folder.path(), "base", |_| {});
    let policy = folder.path().join("fresh.toml");
    let text = "version = 1\nname = \"fresh\"\nserial = 1\n[tpm]\nmax_quote_age = \"1h\"\n";
    std::fs::write(&policy, text).unwrap();
    let policy = policy.display().to_string();
    let done = hallmark(&["evidence", "verify", &file, "--policy", &policy, "-o", "json"]);
    assert_eq!(done.code, 5, "{}{}", done.stdout, done.stderr);
    assert!(
        done.stdout.contains("nobody saw when the quote was taken"),
        "{}",
        done.stdout
    );
}

#[test]
fn what_is_not_true_is_refused_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let neg = vectors().join("neg");
    let other = vectors().join("initrd");
    type Change<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;
    let changes: [(&str, Change<'_>); 7] = [
        (
            "registers HM-VERIFY-0516",
            Box::new(|arguments| set(arguments, "--eventlog", neg.join("base-digest-flipped.bin"))),
        ),
        (
            "boot-log HM-EVID-0102",
            Box::new(|arguments| set(arguments, "--eventlog", neg.join("base-truncated.bin"))),
        ),
        (
            "registers HM-VERIFY-0516",
            Box::new(|arguments| set(arguments, "--eventlog", other.join("eventlog.bin"))),
        ),
        (
            "registers HM-VERIFY-0516",
            Box::new(|arguments| set(arguments, "--ima", other.join("ima.bin"))),
        ),
        (
            "quote HM-VERIFY-0507",
            Box::new(|arguments| set(arguments, "--ak-public", other.join("ak.tpm2b_public"))),
        ),
        (
            "quote HM-VERIFY-0507",
            Box::new(|arguments| set(arguments, "--signature", other.join("quote.sig"))),
        ),
        (
            "qualification HM-VERIFY-0509",
            Box::new(|arguments| set(arguments, "--qualification", "00")),
        ),
    ];
    for (expected, change) in changes {
        let (done, file) = import(folder.path(), "base", change);
        assert_eq!(done.code, 0, "{expected}: {}", done.stderr);
        let done = hallmark(&["evidence", "verify", &file, "-o", "json"]);
        assert_eq!(done.code, 5, "{expected}: {}", done.stdout);
        let report = json(&done);
        assert_eq!(report["verdict"], "refused");
        assert!(
            failed(&report).iter().any(|failed| failed == expected),
            "{expected}: {:?}",
            failed(&report)
        );
    }
}

#[test]
fn kept_registers_show_where_log_and_machine_part() {
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("pcrs");
    let text = std::fs::read_to_string(vectors().join("base/quote.yaml")).unwrap();
    let (_, text) = text.split_once("pcrs:\n").unwrap();
    let (text, _) = text.split_once("calcDigest").unwrap();
    std::fs::write(&values, text).unwrap();
    let (done, file) = import(folder.path(), "base", |arguments| {
        arguments.extend(["--pcrs".to_owned(), values.display().to_string()]);
        set(arguments, "--eventlog", vectors().join("cmdline/eventlog.bin"));
    });
    assert_eq!(done.code, 0, "{}", done.stderr);
    let done = hallmark(&["evidence", "explain", &file, "-o", "json"]);
    assert_eq!(done.code, 5);
    let report = json(&done);
    assert_eq!(failed(&report)[0], "boot-log HM-VERIFY-0703");
    let differing = report["pcrs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pcr| pcr["agrees"] == false);
    let differing: Vec<u64> = differing.map(|pcr| pcr["pcr"].as_u64().unwrap()).collect();
    assert_eq!(differing, [4, 9, 11]);
    // The quote does not show at which event, and none is blamed.
    let eleven = &report["pcrs"][11];
    assert_eq!(
        (&eleven["first_divergence"], &eleven["among"]),
        (&Value::Null, &serde_json::json!([24, 31]))
    );
    let table = hallmark(&["evidence", "explain", &file]).stdout;
    assert!(table.contains("FAILED: any of events 24 to 31"), "{table}");
}

/// The binary file that tpm2_quote leaves beside the quote says what the text says.
#[test]
fn registers_may_come_as_the_quote_left_them() {
    let folder = tempfile::tempdir().unwrap();
    let with = |pcrs: &Path| {
        import(folder.path(), "base", |arguments| {
            arguments.extend(["--pcrs".to_owned(), pcrs.display().to_string()]);
            set(arguments, "--eventlog", vectors().join("cmdline/eventlog.bin"));
        })
    };
    let (done, file) = with(&vectors().join("base/quote.pcrs"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let report = json(&hallmark(&["evidence", "explain", &file, "-o", "json"]));
    assert_eq!(failed(&report)[0], "boot-log HM-VERIFY-0703");
    let pcrs = report["pcrs"].as_array().unwrap();
    assert!(pcrs.iter().all(|pcr| pcr["quoted"].is_string()), "{pcrs:?}");

    let good = std::fs::read(vectors().join("base/quote.pcrs")).unwrap();
    let changed = folder.path().join("pcrs");
    for (what, bytes) in [
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [&good[..], &[0]].concat()),
        ("another bank", [&good[..4], &[0xff], &good[5..]].concat()),
        ("a register more", [&good[..9], &[0x01], &good[10..]].concat()),
        ("a bank that says nothing", [&[2], &good[1..]].concat()),
        (
            "more lists than are there",
            [&good[..132], &[0xff; 4], &good[136..]].concat(),
        ),
    ] {
        std::fs::write(&changed, bytes).unwrap();
        let (done, _) = with(&changed);
        assert_eq!(done.code, 2, "{what}");
        assert!(
            done.stderr.contains("what tpm2_quote -o writes"),
            "{what}: {}",
            done.stderr
        );
    }
}

/// What cannot be what it is said to be is told when it is typed, not as an attack.
#[test]
fn slips_of_the_pen_are_told_at_the_import() {
    let folder = tempfile::tempdir().unwrap();
    let boot = vectors().join("base");
    let cut = folder.path().join("cut");
    std::fs::write(&cut, &std::fs::read(boot.join("quote.sig")).unwrap()[..50]).unwrap();
    type Change<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;
    let slips: [(&str, Change<'_>); 5] = [
        (
            "were they exchanged",
            Box::new(|arguments| {
                set(arguments, "--quote", boot.join("quote.sig"));
                set(arguments, "--signature", boot.join("quote.msg"));
            }),
        ),
        (
            "not a TPMS_ATTEST",
            Box::new(|arguments| set(arguments, "--quote", boot.join("ak.pem"))),
        ),
        (
            "not a TPMT_SIGNATURE",
            Box::new(|arguments| set(arguments, "--signature", &cut)),
        ),
        (
            "neither PEM nor DER",
            Box::new(|arguments| set(arguments, "--ek-cert", boot.join("ek.pub"))),
        ),
        (
            "is a form of output",
            Box::new(|arguments| set(arguments, "-o", "json")),
        ),
    ];
    for (expected, change) in slips {
        let (done, _) = import(folder.path(), "base", change);
        assert_eq!(done.code, 2, "{expected}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{expected}: {}", done.stderr);
    }
    // A list that cannot be read is told even where nothing proves the registers.
    let list = folder.path().join("list");
    std::fs::write(&list, &std::fs::read(boot.join("ima.bin")).unwrap()[..3000]).unwrap();
    let (_, file) = import(folder.path(), "base", |arguments| set(arguments, "--ima", &list));
    let report = json(&hallmark(&["evidence", "verify", &file, "-o", "json"]));
    let failed = failed(&report);
    assert!(failed.iter().any(|it| it.starts_with("ima HM-EVID-03")), "{failed:?}");
    // A baseline that no policy names would be looked at by nobody.
    let (_, file) = import(folder.path(), "base", |_| {});
    let ground = boot.join("quote.yaml").display().to_string();
    let done = hallmark(&["evidence", "verify", &file, "--baseline", &ground]);
    assert_eq!(done.code, 2, "{}", done.stdout);
    assert!(done.stderr.contains("no policy names it"), "{}", done.stderr);
}

#[test]
fn anchors_and_policies_are_judged_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = import(folder.path(), "sb-on", |_| {});
    let path = |name: &str| vectors().join(name).display().to_string();
    let anchored = hallmark(&[
        "evidence",
        "verify",
        &file,
        "--anchors",
        &path("swtpm-root.pem"),
        "--anchors",
        &path("swtpm-issuer.pem"),
        "-o",
        "json",
    ]);
    assert_eq!(anchored.code, 0, "{}", anchored.stdout);
    let check = json(&anchored)["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (check["name"].as_str(), check["holds"].as_bool()),
        (Some("ek-certificate"), Some(true))
    );
    let wrong = hallmark(&["evidence", "verify", &file, "--anchors", &path("db.crt")]);
    assert_eq!(wrong.code, 5, "{}{}", wrong.stdout, wrong.stderr);
    let policy = folder.path().join("policy.toml");
    let text = |on: bool| {
        format!(
            "version = 1\nname = \"edge\"\nserial = 1\napplies_to = [\"tpm2:class:discrete\"]\n[boot]\nsecure_boot = {on}\n"
        )
    };
    for (on, code) in [(true, 0), (false, 5)] {
        std::fs::write(&policy, text(on)).unwrap();
        let done = hallmark(&[
            "evidence",
            "verify",
            &file,
            "--policy",
            &policy.display().to_string(),
            "-o",
            "json",
        ]);
        assert_eq!(done.code, code, "{}{}", done.stdout, done.stderr);
        let reasons = json(&done)["reasons"].clone();
        let mut of_rule = reasons.as_array().unwrap().iter();
        let reason = of_rule.find(|reason| reason["rule"] == "boot.secure_boot").unwrap();
        // What does not hold comes with what to do about it, from the reference of reason codes.
        assert_eq!(reason["next_step"].is_string(), !on, "{reasons}");
        assert_eq!(reason["likely_cause"].is_string(), !on, "{reasons}");
    }
    let table = hallmark(&["evidence", "verify", &file, "--policy", &policy.display().to_string()]).stdout;
    let at = |text: &str| table.find(text).unwrap_or_else(|| panic!("{text}: {table}"));
    assert!(at("HM-POLICY-0102") < at("cause: it was switched off"), "{table}");
    assert!(
        at("cause: it was switched off") < at("next: switch it on, reboot"),
        "{table}"
    );
}

#[test]
fn a_file_that_is_no_evidence_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = import(folder.path(), "base", |_| {});
    let good = std::fs::read_to_string(&file).unwrap();
    for (what, text, code) in [
        ("cut", good[..good.len() / 2].to_owned(), "HM-EVID-0009"),
        (
            "version",
            good.replace("\"version\": 1", "\"version\": 2"),
            "HM-EVID-0007",
        ),
        ("format", good.replace("hallmark-evidence", "other"), "HM-EVID-0009"),
        ("unknown field", good.replacen('{', "{\"more\": 1,", 1), "HM-EVID-0009"),
        (
            "base64",
            good.replace("\"quote\": \"", "\"quote\": \"!"),
            "HM-EVID-0009",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let done = hallmark(&["evidence", "verify", &file]);
        assert_eq!(done.code, 2, "{what}: {}", done.stdout);
        assert!(done.stderr.starts_with(code), "{what}: {}", done.stderr);
    }
    let done = hallmark(&["evidence", "verify", "/nonexistent"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.starts_with("HM-CLI-0015"), "{}", done.stderr);
}

#[test]
fn what_ran_is_held_against_lists_of_digests() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = import(folder.path(), "base", |_| {});
    let policy = folder.path().join("files.toml");
    let rules = "version = 1\nname = \"files\"\nserial = 1\n[ima]\nlists = [\"image\"]\nexclude = [\"/out/*\"]\n";
    std::fs::write(&policy, rules).unwrap();
    // What `sha256sum` would write of the image, taken from a good boot's list.
    let text = std::fs::read_to_string(vectors().join("base/ima.ascii")).unwrap();
    let lines = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let digest = fields.next()?.strip_prefix("sha256:")?;
        Some(format!("{digest}  {}\n", fields.next()?))
    });
    let image: Vec<String> = lines.filter(|line| !line.contains("  /out/")).collect();
    let list = folder.path().join("image.sha256");
    let judged = |content: &str| {
        std::fs::write(&list, content).unwrap();
        let (policy, list) = (policy.display().to_string(), format!("image={}", list.display()));
        hallmark(&[
            "evidence",
            "verify",
            &file,
            "--policy",
            &policy,
            "--digest-list",
            &list,
            "-o",
            "json",
        ])
    };
    let good = judged(&image.concat());
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    let rule = |done: &Done| {
        let report = json(done);
        let reasons = report["reasons"].as_array().unwrap().iter();
        let failed: Vec<_> = reasons.filter(|reason| reason["holds"] == false).cloned().collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        failed[0].clone()
    };
    let missing = judged(&image[1..].concat());
    assert_eq!(missing.code, 5, "{}", missing.stdout);
    let reason = rule(&missing);
    assert_eq!(
        (&reason["code"], &reason["first_event"]["text"]),
        (&"HM-POLICY-0209".into(), &"/init".into())
    );
    let changed = image.concat().replacen(&image[0][..8], "00000000", 1);
    assert_eq!(rule(&judged(&changed))["code"], "HM-POLICY-0210");
    let none = judged("no digest\n");
    assert_eq!(none.code, 2, "{}", none.stderr);
    assert!(none.stderr.contains("malformed at line 1"), "{}", none.stderr);
}
