//! Policies, applied to a server that takes its time.

use crate::run::{Done, Server, program};

const POLICY: &str = "version = 1\nname = \"p\"\nserial = 1\n";

/// Applies a policy.
fn apply(server: &Server, options: &str) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    std::fs::write(&file, POLICY).unwrap();
    server.run(&format!("policy apply {} --yes {options}", file.display()))
}

#[test]
fn who_waits_for_a_policy_sees_how_many_machines_are_judged() {
    let server = Server::start();
    server.fake().state().answers_after = 8;
    let done = apply(&server, "");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(!lines.is_empty(), "nothing was told within eight looks");
    for line in lines {
        let judged = line
            .strip_suffix(" of 40 machines judged")
            .unwrap_or_else(|| panic!("{line}"));
        assert!((1..40).contains(&judged.parse::<u64>().unwrap()), "{line}");
    }
    assert!(done.stdout.contains("policy p serial 1: in force\n"), "{}", done.stdout);
}

#[test]
fn programs_see_nothing_of_it() {
    for form in ["json", "yaml"] {
        let server = Server::start();
        // Nobody looks: it answers after a while.
        server.fake().state().answers_after = 8;
        server.fake().state().patience = std::time::Duration::from_secs(3);
        let done = apply(&server, &format!("-o {form}"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        if form == "json" {
            let value: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
            assert_eq!(value["missing"][0]["name"], "never");
        }
    }
}

/// The server says how far it is, which is worth waiting for.
#[test]
fn a_long_change_is_waited_for_as_long_as_the_server_says_how_far_it_is() {
    for form in ["table", "json"] {
        let server = Server::start();
        server.fake().state().answers_after = 4;
        let done = apply(&server, &format!("-o {form} --timeout 2s"));
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(server.fake().state().looks >= 4);
    }
}

#[test]
fn a_server_that_is_killed_meanwhile_may_have_made_the_change() {
    let server = Server::start();
    server.fake().state().answers_after = 1000;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    std::fs::write(&file, POLICY).unwrap();
    let child = program(&server.socket())
        .args(["policy", "apply", &file.display().to_string(), "--yes"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It was asked, since the program looks how far it is.
    while server.fake().state().looks == 0 {
        // Real time: the program looks once a second.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(server);
    let done: Done = child.wait_with_output().unwrap().into();
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(
        done.stderr.contains("HM-CLI-0024: ")
            && done.stderr.contains("next: hallmark policy list shows whether it was"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_a_policy_names_and_is_not_there_is_told() {
    let server = Server::start();
    let done = apply(&server, "");
    let warning = "warning HM-CLI-0023: policy p names the baseline never, which was never applied, was withdrawn or is retired: it \
                   may refuse every machine\n";
    assert!(done.stdout.contains(warning), "{}", done.stdout);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (0, ""),
        "a quick answer needs no progress"
    );
}
