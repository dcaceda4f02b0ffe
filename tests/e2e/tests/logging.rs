//! The logs of both programs: alike, and never what ends a program or holds it up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_api::agent::CountAgentsRequest;
use hallmark_kit::{AdminClient, Process, WorkloadRequest};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};
use trial::{PATIENCE, Trial, ask, must_report, wait_for};

/// Starts a program with its standard error in a file, a FIFO or a device.
fn stderr_to(target: &Path) -> Vec<String> {
    let script = r#"target=$1; shift; exec "$@" 2>"$target""#;
    let target = target.display().to_string();
    vec!["sh".into(), "-c".into(), script.into(), "sh".into(), target]
}

/// A pipe with a name; its reading end reads nothing unless it is told to.
fn fifo(path: &Path) -> File {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
    let end = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    File::from(end)
}

/// So many calls, each of which is logged at the level `trace`; the longest of them.
fn call(socket: &Path, times: usize) -> Duration {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let mut longest = Duration::ZERO;
        for _ in 0..times {
            let start = Instant::now();
            admin.agent.count_agents(CountAgentsRequest::default()).await.unwrap();
            longest = longest.max(start.elapsed());
        }
        longest
    })
}

/// It runs, and ends in good order when it is asked to.
fn must_end_well(process: &mut Process) {
    assert!(process.wait_exit(Duration::ZERO).is_err(), "it has ended");
    process.signal(Signal::TERM);
    let status = process.wait_exit(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_log_that_nobody_reads_or_that_has_no_room_ends_neither_program() {
    let mut trial = Trial::laid_out(1);
    let pipe = trial.folder.path().join("closed");
    for target in [Path::new("/dev/full"), pipe.as_path()] {
        // The control: who writes to standard error without such care is ended by that.
        let script = r#"exec 2>"$0"; echo lost >&2 || exit 7"#;
        let read = (target == pipe).then(|| fifo(&pipe));
        trial.lab.server().set("log", "level", "trace".into());
        trial.lab.server().launch_through(stderr_to(target));
        trial.node().set("log", "level", "trace".into());
        trial.node().launch_through(stderr_to(target));
        trial.lab.start_server().unwrap();
        trial.node().launch().unwrap();
        trial.node().wait_ready(PATIENCE).unwrap();
        drop(read);
        if target == Path::new("/dev/full") {
            let control = std::process::Command::new("sh")
                .args(["-c", script, "/dev/full"])
                .status();
            assert_eq!(control.unwrap().code(), Some(7));
        }
        call(&trial.lab.server().admin_socket(), 50);
        let api = trial.node().workload_api();
        for _ in 0..50 {
            assert!(ask(WorkloadRequest::is_ready(&api)));
        }
        must_end_well(trial.node().process().unwrap());
        must_end_well(trial.lab.server().process().unwrap());
    }
}

#[test]
fn a_log_that_is_stuck_holds_nobody_up_and_tells_what_it_lost_once_it_moves() {
    let mut trial = Trial::laid_out(0);
    let pipe = trial.folder.path().join("stuck");
    let mut read = fifo(&pipe);
    trial.lab.server().set("log", "level", "trace".into());
    trial.lab.server().launch_through(stderr_to(&pipe));
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    // Far more than a pipe and the lines that may wait have room for.
    let longest = call(&socket, 4000);
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let mut text = String::new();
    let mut drain = || {
        let mut bytes = [0; 65536];
        while let Ok(count) = read.read(&mut bytes) {
            if count == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text.clone()
    };
    wait_for("the log tells what it lost", || {
        call(&socket, 1);
        drain().contains("log lines are missing here")
    });
    let told = drain();
    let line = told
        .lines()
        .find(|line| line.contains("log lines are missing here"))
        .unwrap();
    let lost = line.rsplit("lost=").next().unwrap().parse::<u64>().unwrap();
    assert!(lost > 0, "{line}");
    // Stuck again, it ends all the same.
    call(&socket, 400);
    must_end_well(trial.lab.server().process().unwrap());
}

/// Every line of a log as what it must be: one flat object.
fn flat(log: &str) -> Vec<Map<String, Value>> {
    let lines = log.lines().map(|line| match serde_json::from_str(line) {
        Ok(Value::Object(line)) => line,
        other => panic!("{other:?}: {line}"),
    });
    lines
        .inspect(|line| {
            for name in ["timestamp", "level", "target", "message"] {
                assert!(line.get(name).is_some_and(Value::is_string), "no {name}: {line:?}");
            }
            let nested = line.values().any(|value| value.is_object() || value.is_array());
            assert!(!nested, "{line:?}");
        })
        .collect()
}

#[test]
fn json_logs_of_both_programs_are_flat_and_alike() {
    let mut trial = Trial::laid_out(1);
    for json in [true, false] {
        let format = if json { "json" } else { "text" };
        trial.lab.server().set("log", "format", format.into());
        trial.node().set("log", "format", format.into());
        trial.lab.start_server().unwrap();
        trial.node().start().unwrap();
        trial.lab.server().stop();
        let log = trial.node().folder().join("agent.log");
        let said = || std::fs::read_to_string(&log).unwrap();
        wait_for("the agent misses its server", || said().contains("HM-AGENT-0001"));
        trial.node().stop();
        if !json {
            must_report(&said(), "HM-AGENT-0001", &["cannot be reached"]);
            continue;
        }
        let (agent, server) = (flat(&said()), flat(&trial.lab.server().log()));
        assert!(agent.len() > 3 && server.len() > 3);
        let fault = agent
            .iter()
            .find(|line| line.get("code") == Some(&"HM-AGENT-0001".into()))
            .unwrap();
        for name in ["compared", "cause", "next"] {
            assert!(fault.get(name).is_some_and(Value::is_string), "no {name}: {fault:?}");
        }
        assert!(!fault["message"].as_str().unwrap().contains('\n'), "{fault:?}");
        std::fs::write(&log, "").unwrap();
    }
}
