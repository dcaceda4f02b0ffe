//! How the program fails: on stderr, in four lines, with its exit code.

use std::path::Path;

use crate::run::{Server, program, run};

#[test]
fn a_missing_server_is_told_in_lines() {
    let done = run(Path::new("/nonexistent/admin.sock"), "status");
    assert_eq!((done.code, done.stdout.as_str()), (4, ""));
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(
        lines[0].starts_with("HM-CLI-0001: ") && lines[0].contains("/nonexistent/admin.sock"),
        "{}",
        done.stderr
    );
    assert!(lines[1].starts_with("  cause: ") && lines[2].starts_with("  next: "));
}

#[test]
fn a_socket_that_nobody_serves_is_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let done = run(&path, "status");
    assert!(done.code == 4 && done.stderr.contains("HM-CLI-0001"), "{}", done.stderr);
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let started = std::time::Instant::now();
    let done = run(&path, "status --timeout 1s");
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn usage_is_told_by_exit_code_2_and_help_by_0() {
    let server = Server::start();
    for line in [
        "",
        "nonsense",
        "entry",
        "node ban",
        "status -o xml",
        "status --timeout soon",
    ] {
        let done = server.run(line);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{line}");
        assert!(!done.stderr.is_empty());
    }
    for line in ["--help", "entry create --help", "--version", "help node"] {
        let done = server.run(line);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{line}");
    }
    assert!(server.run("entry create --help").stdout.contains("Examples:"));
}

#[test]
fn no_colour_and_no_question_without_a_terminal() {
    let server = Server::start();
    for line in ["status", "node list", "hsm status"] {
        assert!(!server.run(line).stdout.contains('\u{1b}'), "{line}");
    }
    // A yes that arrives by pipe is no confirmation.
    let output = program(&server.socket())
        .args(["node", "ban", "3f9a"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write as _;
            let _ = child.stdin.take().unwrap().write_all(b"y\n");
            child.wait()
        });
    assert_eq!(output.unwrap().code(), Some(2));
    assert!(!server.fake().state().agents[0].banned);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let server = Server::start();
    let line = format!("{} completion bash | head -n 1", env!("CARGO_BIN_EXE_hallmark"));
    let output = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &line])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    drop(server);
}
