//! What those see who watch the programs: health checks, HTTP and metrics tell the true state, with its reasons.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{Fault, Node, TctiProxy, binary};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use trial::{PATIENCE, Trial, entry, register, svids, wait_for};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const UNREACHABLE: i32 = 4;

/// How a command ends, and all that it says.
fn run(program: &str, words: &[&str], env: &[(&str, String)]) -> (Option<i32>, String) {
    let out = Command::new(binary(program).unwrap())
        .args(words)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(said).unwrap())
}

/// The agent's own health check.
fn health(node: &Node) -> (Option<i32>, String) {
    let config = node.config_file().display().to_string();
    run(
        "hallmark-agent",
        &["healthcheck", "--verbose", "--config", &config],
        &[],
    )
}

/// Waits until the agent's health check ends so, and says these words.
fn must_become(node: &Node, exit: i32, words: &str) {
    let mut last = String::new();
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        let (ended, said) = health(node);
        if ended == Some(exit) && said.contains(words) {
            return;
        }
        last = said;
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("never {exit} with {words:?}, but: {last}");
}

/// Where a program says that its health is served over TCP.
fn served_at(log: &str) -> String {
    let lines = log.lines().filter(|line| line.contains("health is served"));
    let mut addresses = lines.filter_map(|line| line.split("address=").nth(1));
    addresses
        .find(|address| !address.starts_with("unix:"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Status and body of a GET.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// An agent with an entry, whose TPM can be cut off, and its server.
fn watched() -> (Trial, TctiProxy) {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    let node = trial.node();
    let proxy = TctiProxy::start(node.tpm().port()).unwrap();
    node.set("tpm", "tcti", proxy.tcti().into());
    node.set("health", "listen", "127.0.0.1:0".into());
    register(&socket, entry(&node.agent_id().unwrap(), "/workload")).unwrap();
    (trial, proxy)
}

#[test]
fn an_agent_is_ready_only_while_it_can_do_its_work() {
    let (mut trial, proxy) = watched();
    let admin = trial.lab.server().admin_socket().display().to_string();
    let operator = move |words: &[&str]| {
        let (exit, said) = run("hallmark", words, &[("HALLMARK_ADMIN_SOCKET", admin.clone())]);
        assert_eq!(exit, Some(DONE), "{said}");
    };
    let node = trial.node();
    let id = node.agent_id().unwrap();
    node.write_config().unwrap();
    let (exit, said) = health(node);
    assert!(exit == Some(UNREACHABLE) && said.contains("HM-AGENT-0027"), "{said}");

    // The control: all is well.
    node.start().unwrap();
    must_become(
        node,
        DONE,
        "tpm ok\nidentity ok\nserver ok\nsvids ok\nworkload-api ok\nready\n",
    );
    let address = served_at(&node.log());
    assert_eq!(get(&address, "/live").0, 200);
    assert_eq!(get(&address, "/ready").0, 200);

    // A TPM that cannot be reached.
    proxy.set_rule(|_, _| Fault::Cut);
    must_become(node, FAILED, "tpm FAILED HM-TPM-0010");
    let (status, body) = get(&address, "/ready");
    assert!(status == 503 && body.contains("HM-TPM-0010"), "{body}");
    assert_eq!(get(&address, "/live").0, 200, "a new start would not help");
    assert!(get(&address, "/metrics").1.contains("\nhallmark_agent_ready 0\n"));
    proxy.clear_rule();
    must_become(node, DONE, "ready");

    // A machine that is suspended.
    operator(&["node", "suspend", &id, "--yes"]);
    must_become(node, FAILED, "identity FAILED HM-AGENT-0019");
    assert!(svids(&node.workload_api()).is_empty());
    operator(&["node", "resume", &id]);
    must_become(node, DONE, "ready");

    // An agent that serves nobody, since its socket is gone.
    std::fs::remove_file(node.workload_api()).unwrap();
    must_become(node, FAILED, "workload-api FAILED HM-AGENT-0024");
    node.stop();
    node.start().unwrap();
    must_become(node, DONE, "ready");
    node.stop();
    let (exit, said) = health(node);
    assert!(exit == Some(UNREACHABLE) && said.contains("HM-AGENT-0027"), "{said}");
}

#[test]
fn an_agent_whose_svids_ended_while_its_server_was_away_says_so() {
    let (mut trial, _proxy) = watched();
    trial.lab.server().stop();
    for ttl in ["x509_svid_ttl", "agent_ttl"] {
        trial.lab.server().set("authority", ttl, "20s".into());
    }
    trial.lab.server().start().unwrap();
    let node = trial.node();
    node.start().unwrap();
    let socket = node.workload_api();
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    must_become(node, DONE, "svids ok");
    trial.lab.server().stop();
    let node = trial.node();
    // First what was issued goes on.
    assert_eq!(health(node).0, Some(DONE));
    must_become(node, FAILED, "identity FAILED HM-AGENT-0001");
    trial.lab.server().start().unwrap();
    must_become(trial.node(), DONE, "ready");
}
