//! What the program says, and what it does when its output cannot be written.
#![allow(clippy::unwrap_used, reason = "test code beside the test functions")]

use std::{
    fs::{self, OpenOptions},
    os::unix::net::UnixListener,
    process::{Command, Output, Stdio},
};

fn run(line: &str, stdout: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallmark-agent"))
        .args(line.split(' '))
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    for line in ["version", "version -o json", "config defaults", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = run(line, writer.into());
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), told.as_str()), (Some(0), ""), "{line}");
    }
    // A full disk is one.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = run("version", full.into());
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.starts_with("HM-AGENT-0016: "), "{told}");
}

/// An agent that does not answer in time is not one that does not run.
#[test]
fn who_listens_and_is_silent_is_told_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("workload.sock");
    let line = format!("api fetch x509 --timeout 1s --socket {}", socket.display());
    let told = |code: &str| {
        let done = run(&line, Stdio::piped());
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(4), "{told}");
        assert!(told.starts_with(code), "{told}");
        told
    };
    told("HM-WL-0031: ");
    let _listener = UnixListener::bind(&socket).unwrap();
    let silent = told("HM-WL-0033: ");
    assert!(!silent.contains("does not run"), "{silent}");
}

#[test]
fn tokens_come_from_a_file_or_the_command_line_and_need_an_audience() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let socket = path("workload.sock");
    fs::write(path("token"), "x.y.z").unwrap();
    fs::write(path("binary"), [0xff]).unwrap();
    let told = |line: &str| {
        let done = run(&format!("api {line} --socket {socket}"), Stdio::piped());
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    for line in [
        "fetch jwt",
        "validate jwt --svid x.y.z",
        "validate jwt --audience db",
        &format!("validate jwt --audience db --svid x.y.z --svid-file {}", path("token")),
    ] {
        assert_eq!(told(line).0, 2, "{line}");
    }
    let unread = [("missing", "No such file"), ("binary", "UTF-8")];
    for (name, why) in unread {
        let (code, said) = told(&format!("validate jwt --audience db --svid-file {}", path(name)));
        assert!(
            code == 1 && said.starts_with("HM-WL-0035: cannot read ") && said.contains(why),
            "{said}"
        );
    }
    // The control: the token is read, and there is no agent.
    for line in [
        "fetch jwt --audience db --timeout 1s".to_owned(),
        "validate jwt --audience db --timeout 1s --svid x.y.z".to_owned(),
        format!("validate jwt --audience db --timeout 1s --svid-file {}", path("token")),
    ] {
        let (code, said) = told(&line);
        assert!(code == 4 && said.starts_with("HM-WL-0031: "), "{line}: {said}");
    }
}

#[test]
fn the_doctor_tells_each_part_and_fails_by_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("boot.log"), "").unwrap();
    let config = format!(
        r#"version = 1
        trust_domain = "example.org"
        data_dir = "{}"
        [server]
        address = "127.0.0.1:1"
        insecure_bootstrap = true
        [tpm]
        tcti = "swtpm:host=127.0.0.1,port=1"
        [measurements]
        tcg = "{}"
        systemd = ""
        ima = "{}"
        [workload_api]
        socket = "{}"
        "#,
        path("data"),
        path("boot.log"),
        path("missing"),
        path("run/workload.sock"),
    );
    fs::write(path("agent.toml"), config).unwrap();
    let done = run(&format!("doctor --config {}", path("agent.toml")), Stdio::piped());
    let (told, said) = (
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    );
    assert_eq!(done.status.code(), Some(4), "{told}{said}");
    let logs = format!(
        "ok    measurement logs: an empty TCG log at {}, which is none, systemd not configured, no IMA log at {}",
        path("boot.log"),
        path("missing")
    );
    for begin in [
        &format!("ok    data folder: {}", path("data")),
        &logs,
        "FAIL  TPM: HM-TPM-0001: ",
        "FAIL  server: HM-AGENT-0001: ",
        "FAIL  agent: HM-AGENT-0027: ",
    ] {
        assert!(told.lines().any(|line| line.starts_with(begin)), "{begin}\n{told}");
    }
    assert!(said.starts_with("HM-TPM-0001: "), "the first that failed: {said}");
}
