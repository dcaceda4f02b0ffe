//! What the program does when its output cannot be written.
#![allow(clippy::unwrap_used, reason = "test code beside the test functions")]

use std::{
    fs::OpenOptions,
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
