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
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use trial::{DOMAIN, PATIENCE, Trial, destroy_key, entry, register, svids, wait_for};

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
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let (ended, said) = health(node);
        if ended == Some(exit) && said.contains(words) {
            return;
        }
        last = said;
        std::thread::sleep(Duration::from_millis(200));
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
        "tpm ok\nidentity ok\nserver ok\nsvids ok\nworkload-api ok\nstate ok\nready\n",
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

#[test]
fn a_server_without_its_key_lives_and_is_not_ready() {
    let mut trial = Trial::laid_out(0);
    trial.lab.build_node().unwrap();
    trial.lab.server().set("health", "listen", "127.0.0.1:0".into());
    trial.lab.start_server().unwrap();
    let address = served_at(&trial.lab.server().log());
    // The control: all is well.
    let (status, body) = get(&address, "/ready");
    assert_eq!(status, 200, "{body}");
    let all = r#"{"ok":true,"parts":[{"name":"store","state":"ok"},{"name":"hsm","state":"ok"},{"name":"authority","state":"ok"}]}"#;
    assert_eq!(body, all);
    assert!(get(&address, "/metrics").1.contains("\nhallmark_server_ready 1\n"));

    destroy_key(trial.lab.server().token(), &format!("hallmark-x509-{DOMAIN}-1"));
    let start = Instant::now();
    while get(&address, "/ready").0 == 200 {
        assert!(start.elapsed() < PATIENCE, "{}", get(&address, "/ready").1);
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_for("the reason is told", || {
        let (status, body) = get(&address, "/ready");
        status == 503 && body.contains("\"code\":\"HM-SRV-0010\"")
    });
    assert_eq!(get(&address, "/live").0, 200, "a new start would not help");
    let metrics = get(&address, "/metrics").1;
    for line in [
        "hallmark_server_ready 0",
        "hallmark_server_part_ok{part=\"hsm\"} 0",
        "hallmark_server_part_ok{part=\"store\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
}

/// The names of the metrics in OpenMetrics text, as its samples have them, and as families.
fn names(metrics: &str) -> BTreeSet<String> {
    let samples = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let names = samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned());
    names.collect()
}

/// Every word of a text that looks like one of the metrics.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("hallmark_server_") || word.starts_with("hallmark_agent_");
    words.filter(is_metric).map(str::to_owned).collect()
}

/// A histogram is named by its family.
fn family(name: &str) -> String {
    let part = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    part.unwrap_or(name).to_owned()
}

#[test]
fn what_docs_alerts_and_dashboard_name_is_exported_and_the_other_way_round() {
    let (mut trial, _proxy) = watched();
    trial.lab.server().stop();
    trial.lab.server().set("health", "listen", "127.0.0.1:0".into());
    trial.lab.server().start().unwrap();
    let node = trial.node();
    node.start().unwrap();
    wait_for("an SVID is served", || svids(&node.workload_api()).len() == 1);
    let id = node.agent_id().unwrap();
    // What is found last is exported: somebody looks.
    must_become(node, DONE, "ready");
    let agent = get(&served_at(&node.log()), "/metrics").1;
    let server = get(&served_at(&trial.lab.server().log()), "/metrics").1;
    let exported: BTreeSet<String> = names(&server).union(&names(&agent)).cloned().collect();
    let families: BTreeSet<String> = exported.iter().map(|name| family(name)).collect();
    for text in [&server, &agent] {
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(
            !text.contains("spiffe:") && !text.contains(id.rsplit('/').next().unwrap()),
            "{text}"
        );
    }
    // What happened so far, in numbers.
    for line in [
        r#"hallmark_server_verdicts_total{outcome="accepted",class=""} 1"#,
        r#"hallmark_server_attestation_stage_seconds_count{stage="appraisal"} 1"#,
        r#"hallmark_server_svids_issued_total{holder="server"} 1"#,
        r#"hallmark_server_svids_issued_total{holder="remote"} 2"#,
        r#"hallmark_server_nodes{state="all"} 1"#,
        "hallmark_server_entries 1",
        r#"hallmark_server_part_ok{part="authority"} 1"#,
    ] {
        assert!(server.lines().any(|found| found == line), "no {line} in\n{server}");
    }
    for line in [
        r#"hallmark_agent_attestations_total{outcome="accepted"} 1"#,
        r#"hallmark_agent_workload_svids{state="valid"} 1"#,
        r#"hallmark_agent_tpm_work_seconds_count{work="quote"} 1"#,
        "hallmark_agent_ready 1",
    ] {
        assert!(agent.lines().any(|found| found == line), "no {line} in\n{agent}");
    }

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    // The reference has all of them and no others.
    let rows = read("reference/metrics.md");
    let rows: String = rows.lines().filter(|line| line.starts_with("| `hallmark_")).collect();
    let listed: BTreeSet<String> = mentioned(&rows);
    assert_eq!(listed, families);
    // Alerts and dashboard name samples.
    let (alerts, dashboard) = (read("monitoring/alerts.yml"), read("monitoring/dashboard.json"));
    for (what, text) in [("alerts.yml", &alerts), ("dashboard.json", &dashboard)] {
        let named = mentioned(text);
        assert!(named.len() > 10, "{what}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{what} names {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["targets"][0]["expr"].is_string()));
}

/// Alert rules, as Prometheus reads them; it refuses what it does not know, and so does this.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleGroup {
    #[serde(rename = "name")]
    _name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn each_alert_has_an_expression_over_our_metrics_and_leads_to_a_paragraph_of_the_runbook() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let file = docs.join("monitoring/alerts.yml");
    let alerts = std::fs::read_to_string(&file).unwrap();
    let runbook = std::fs::read_to_string(docs.join("how-to/runbook.md")).unwrap();
    let titles = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors: BTreeSet<String> = titles.map(|title| title.to_lowercase().replace(' ', "-")).collect();
    let file_read: RuleFile = serde_saphyr::from_str(&alerts).unwrap();
    let rules: Vec<Rule> = file_read.groups.into_iter().flat_map(|group| group.rules).collect();
    assert_eq!(rules.len(), alerts.matches("- alert: ").count());
    let names: BTreeSet<&String> = rules.iter().map(|rule| &rule.alert).collect();
    assert_eq!(names.len(), rules.len(), "no name twice");
    for Rule {
        alert,
        expr,
        labels,
        annotations,
        ..
    } in &rules
    {
        assert!(!mentioned(expr).is_empty(), "{alert}: {expr}");
        let severity = &labels["severity"];
        assert!(
            ["info", "warning", "critical"].contains(&severity.as_str()),
            "{alert}: {severity}"
        );
        assert!(!annotations["summary"].is_empty(), "{alert}");
        let link = &annotations["runbook_url"];
        let anchor = link.strip_prefix("../how-to/runbook.md#").unwrap();
        assert!(anchors.contains(anchor), "{alert}: no paragraph {link}");
    }
    // Prometheus' own check, where it is installed.
    match Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

/// The service manager's end of a program's socket, and the variables that name it.
fn service_manager(folder: &Path, watchdog: Duration) -> (UnixDatagram, Vec<(String, String)>) {
    let path = folder.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let env = [
        ("NOTIFY_SOCKET", path.display().to_string()),
        ("WATCHDOG_USEC", watchdog.as_micros().to_string()),
    ];
    (manager, env.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Waits for so many pings of a watchdog.
fn must_ping(manager: &UnixDatagram, times: usize) {
    let mut pings = 0;
    let mut word = [0; 256];
    while pings < times {
        let length = manager.recv(&mut word).unwrap();
        pings += usize::from(word.get(..length) == Some(b"WATCHDOG=1".as_slice()));
    }
}

#[test]
fn the_watchdog_is_told_while_the_programs_work_and_no_longer() {
    let (mut trial, _proxy) = watched();
    trial.lab.server().stop();
    let folders = ["server-notify", "agent-notify"].map(|name| trial.folder.path().join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let every = Duration::from_secs(3);
    let (server, env) = service_manager(&folders[0], every);
    trial.lab.server().launch_with(&env).unwrap();
    let (agent, env) = service_manager(&folders[1], every);
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    trial.node().launch_with(&env).unwrap();
    must_ping(&server, 3);
    must_ping(&agent, 3);
    // Another program holds the store's lock: the server says why it cannot write, and that is an answer.
    let store = trial.lab.server().folder().join("data").join("server.db");
    let lock = rusqlite::Connection::open(&store).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = Instant::now();
    while held.elapsed() < Duration::from_secs(7) {
        must_ping(&agent, 1);
    }
    drop(lock);
    must_ping(&server, 3);
    // A program that is stopped says nothing more.
    let stopped = trial.lab.server().process().unwrap();
    stopped.signal(rustix::process::Signal::STOP);
    server.set_read_timeout(Some(2 * every)).unwrap();
    let mut word = [0; 256];
    while server.recv(&mut word).is_ok() {}
    stopped.signal(rustix::process::Signal::CONT);
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    must_ping(&server, 1);
}
