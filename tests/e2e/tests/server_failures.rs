//! What keeps a server from starting: each fault with its coded message and exit code, then the same server without it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_kit::{Lab, LabError, LabOptions, Token};
use toml::Value;

/// Usage or configuration (docs: exit codes).
const CONFIGURATION: &str = "exit status: 2";
/// Server, TPM or HSM cannot be reached.
const UNREACHABLE: &str = "exit status: 4";

fn lab(folder: &tempfile::TempDir) -> Lab {
    let options = LabOptions {
        folder: folder.path().join("l"),
        trust_domain: "fault.example".into(),
        nodes: 0,
    };
    let mut lab = Lab::lay_out(options).unwrap();
    lab.build_node().unwrap();
    lab
}

/// Starts the server and returns how it ended and what it said.
fn refused(lab: &mut Lab) -> (String, String) {
    let _ = std::fs::remove_file(lab.server().folder().join("server.log"));
    let error = lab.start_server().expect_err("it started");
    match error.downcast::<LabError>().unwrap() {
        LabError::Ended { status, log, .. } => (status, log),
        other => panic!("{other}"),
    }
}

fn expect(lab: &mut Lab, what: &str, status: &str, code: &str) {
    let (ended, said) = refused(lab);
    assert!(said.contains(code), "{what}: no {code} in: {said}");
    assert!(ended.contains(status), "{what}: {ended}, not {status}: {said}");
    assert!(said.contains("next: "), "{what}: no next step in: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

#[test]
fn a_token_that_cannot_be_used_is_told_and_harms_nothing() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let mut lab = lab(&folder);
    let (module, label) = (
        Token::module().display().to_string(),
        lab.server().token().label().to_owned(),
    );
    let pin = format!("file:{}", lab.server().token().pin_file().display());
    let wrong = folder.path().join("wrong-pin");
    std::fs::write(&wrong, "000000").unwrap();
    let faults: [(&str, &str, String, &str, &str); 4] = [
        (
            "no such module",
            "module",
            "/no/such/module.so".into(),
            UNREACHABLE,
            "HM-HSM-",
        ),
        ("no such token", "token_label", "nobody".into(), UNREACHABLE, "HM-HSM-"),
        (
            "wrong PIN",
            "pin",
            format!("file:{}", wrong.display()),
            UNREACHABLE,
            "HM-HSM-",
        ),
        (
            "no PIN file",
            "pin",
            "file:/no/such/pin".into(),
            CONFIGURATION,
            "HM-CONF-",
        ),
    ];
    for (what, key, value, status, code) in faults {
        lab.server().set("hsm", key, Value::String(value));
        expect(&mut lab, what, status, code);
        lab.server().set("hsm", "module", module.clone().into());
        lab.server().set("hsm", "token_label", label.clone().into());
        lab.server().set("hsm", "pin", pin.clone().into());
    }
    lab.start_server().unwrap();
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_harms_nothing() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let mut lab = lab(&folder);
    lab.server().set("hsm", "sesions", Value::Integer(4));
    let (_, said) = refused(&mut lab);
    assert!(said.contains("sesions") && said.contains("`sessions`"), "{said}");
    expect(&mut lab, "unknown key", CONFIGURATION, "HM-CONF-0003");
    let config = lab.server().config_file();
    let good = std::fs::read_to_string(&config).unwrap();
    assert!(good.contains("sesions"), "the fault was in the file");
}
