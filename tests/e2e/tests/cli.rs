//! Every command of the operator's programs on a running trust domain, and what each tells the shell.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use hallmark_kit::{Lab, LabOptions, binary};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit codes, as `hallmark --help` lists them.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 4;
const NOT_FOUND: i32 = 6;
const WOULD_CHANGE: i32 = 7;

fn lab(folder: &tempfile::TempDir, nodes: usize) -> Lab {
    Lab::up(LabOptions {
        folder: folder.path().join("l"),
        trust_domain: "cli.example".into(),
        nodes,
    })
    .unwrap()
}

/// A program that is called again and again.
struct Program {
    name: &'static str,
    always: Vec<String>,
    env: Vec<(String, String)>,
}

impl Program {
    /// Runs it, demands the exit code, and returns what it wrote to stdout.
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let out = Command::new(binary(self.name).unwrap())
            .args(arguments)
            .args(&self.always)
            .envs(self.env.clone())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let [said, told] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(
            out.status.code(),
            Some(code),
            "{} {arguments:?}\n{said}\n{told}",
            self.name
        );
        // Whoever is refused with a code learns what to do next.
        assert!(
            !told.starts_with("HM-") || told.contains("next: "),
            "{arguments:?}: {told}"
        );
        said
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let said = self.ends(code, &[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }
}

fn hallmark(socket: &Path) -> Program {
    Program {
        name: "hallmark",
        always: vec!["--socket".into(), socket.display().to_string()],
        env: Vec::new(),
    }
}

fn server(lab: &mut Lab) -> Program {
    let conf = lab.server().token().conf().display().to_string();
    Program {
        name: "hallmark-server",
        always: vec!["--config".into(), lab.server().config_file().display().to_string()],
        env: vec![("SOFTHSM2_CONF".into(), conf)],
    }
}

#[test]
fn every_command_of_the_operators_program() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let mut lab = lab(&folder, 1);
    let program = hallmark(&lab.server().admin_socket());
    looks(&program, &lab.server().config_file());
    entries(&program);
    nodes(&program);

    lab.server().stop();
    for command in [&["status"][..], &["doctor"], &["node", "list"], &["hsm", "status"]] {
        program.ends(UNREACHABLE, command);
    }
    program.ends(DONE, &["version"]);
}

/// What only looks, at the server and at files.
fn looks(program: &Program, config: &Path) {
    assert_eq!(program.json(DONE, &["status"])["trust_domain"], "cli.example");
    program.json(DONE, &["bundle", "show"]);
    let pem = program.ends(DONE, &["bundle", "show", "--format", "pem"]);
    assert!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
    program.json(DONE, &["hsm", "status"]);
    let keys = program.json(DONE, &["hsm", "keys"]);
    let uses = keys.as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap());
    assert_eq!(
        uses.collect::<Vec<_>>(),
        ["jwt-authority, active", "x509-authority, active"],
        "{keys}"
    );
    program.json(DONE, &["doctor"]);
    assert!(program.ends(DONE, &["completion", "bash"]).contains("complete"));
    program.json(DONE, &["version"]);
    program.ends(USAGE, &["nonsense"]);
    program.ends(USAGE, &["node", "show"]);

    let good = config.display().to_string();
    program.ends(DONE, &["config", "check", &good]);
    let bad = config.with_file_name("bad.toml");
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(&bad, text.replace("sessions", "sesions")).unwrap();
    program.ends(USAGE, &["config", "check", &bad.display().to_string()]);
    program.ends(USAGE, &["config", "check", "/no/such/file.toml"]);
}

fn entries(program: &Program) {
    let named = |id: &'static str| {
        let parent = ["--parent-id", "/fleet", "--selector", "unix:uid:7"];
        [&["entry", "create", "--spiffe-id", id][..], &parent].concat()
    };
    let create = named("/web");
    program.ends(WOULD_CHANGE, &[&create[..], &["--dry-run"]].concat());
    assert_eq!(program.json(DONE, &["entry", "list"]).as_array().unwrap().len(), 0);
    program.ends(DONE, &create);
    program.ends(NOT_FOUND, &create);
    program.ends(USAGE, &named("/spire/server"));
    program.ends(USAGE, &named("/a//b"));

    let list = program.json(DONE, &["entry", "list"]);
    let id = list[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(program.json(DONE, &["entry", "show", &id[..8]])["id"], id.as_str());
    program.ends(NOT_FOUND, &["entry", "show", "absent"]);
    program.json(DONE, &["entry", "match", "--selector", "unix:uid:7"]);
    program.ends(NOT_FOUND, &["entry", "match", "--selector", "unix:uid:8"]);

    program.ends(WOULD_CHANGE, &["entry", "delete", &id, "--dry-run"]);
    program.ends(USAGE, &["entry", "delete", &id]);
    assert_eq!(
        program.json(DONE, &["entry", "show", &id])["id"],
        id.as_str(),
        "still there"
    );
    program.ends(DONE, &["entry", "delete", &id, "--yes"]);
    program.ends(NOT_FOUND, &["entry", "delete", &id, "--yes"]);
}

fn nodes(program: &Program) {
    let list = program.json(DONE, &["node", "list"]);
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let node = &id.rsplit('/').next().unwrap()[..10];
    let state = || program.json(DONE, &["node", "show", node])["state"].clone();
    assert_eq!(state(), "active");
    program.ends(NOT_FOUND, &["node", "show", "zzzz"]);
    program.ends(WOULD_CHANGE, &["node", "ban", node, "--dry-run"]);
    program.ends(USAGE, &["node", "ban", node]);
    assert_eq!(state(), "active", "nothing changed yet");
    program.ends(DONE, &["node", "ban", node, "--yes"]);
    assert_eq!(state(), "banned");
    program.ends(WOULD_CHANGE, &["node", "evict", node, "--dry-run"]);
    program.ends(USAGE, &["node", "evict", node]);
    program.ends(DONE, &["node", "evict", node, "--yes"]);
    program.ends(NOT_FOUND, &["node", "ban", "zzzz", "--yes"]);
    program.ends(NOT_FOUND, &["node", "evict", "zzzz", "--yes"]);
}

#[test]
fn the_server_tells_how_it_is() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let mut lab = lab(&folder, 0);
    let program = server(&mut lab);
    assert_eq!(program.ends(DONE, &["healthcheck"]), "ready\n");
    let verbose = program.ends(DONE, &["healthcheck", "--verbose"]);
    assert_eq!(verbose, "store ok\nhsm ok\nauthority ok\nready\n");
    let doctor = program.ends(DONE, &["doctor"]);
    assert!(
        doctor.lines().count() == 7 && doctor.lines().all(|line| line.starts_with("ok ")),
        "{doctor}"
    );
    assert!(doctor.contains("rows follow each other, up to revision"), "{doctor}");

    lab.server().stop();
    program.ends(UNREACHABLE, &["healthcheck"]);
    let doctor = program.ends(UNREACHABLE, &["doctor"]);
    assert!(
        doctor.contains("ok    token") && doctor.contains("FAIL  server: HM-SRV-0008"),
        "{doctor}"
    );
    let data = lab.server().folder().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "no folder").unwrap();
    let doctor = program.ends(FAILED, &["doctor"]);
    assert!(doctor.contains("FAIL  data folder: HM-SRV-0004"), "{doctor}");
}

#[test]
fn the_environment_stands_over_the_servers_file() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let mut lab = lab(&folder, 0);
    let mut program = server(&mut lab);
    program.env.push(("HALLMARK_SERVER__LOG__LEVEL".into(), "debug".into()));
    program
        .env
        .push(("HALLMARK_SERVER__TRUST_DOMAIN".into(), "other.example".into()));
    let valid = program.ends(DONE, &["config", "check"]);
    assert!(valid.contains("trust domain other.example"), "{valid}");
    program.env.push(("HALLMARK_SERVER__LOG__LEVLE".into(), "debug".into()));
    program.ends(USAGE, &["config", "check"]);
    program.ends(USAGE, &["run"]);
}
