//! The authority's age is told in good time where no other takes its place; neither its renewal nor rotation and taint lose anybody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{MovedClock, Server, binary};
use hallmark_spiffe::{
    TrustDomain,
    x509::{SigningFacts, verify_chain},
};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use trial::{DOMAIN, PATIENCE, Trial, bundle, entry, register, svids, wait_for};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const HOUR: i64 = 3600;
const CODES: [&str; 5] = [
    "HM-SRV-0026",
    "HM-SRV-0027",
    "HM-SRV-0028",
    "HM-SRV-0029",
    "HM-SRV-0013",
];

/// How a command ends, and all that it says.
fn run(program: &str, words: &[&str], env: &[(String, String)]) -> (Option<i32>, String) {
    let out = Command::new(binary(program).unwrap())
        .args(words)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(said).unwrap())
}

fn operator(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let socket = server.admin_socket().display().to_string();
    run("hallmark", words, &[("HALLMARK_ADMIN_SOCKET".into(), socket)])
}

/// `hallmark-server authority renew` by this clock.
fn renew(server: &Server, clock: &MovedClock, words: &[&str]) -> (Option<i32>, String) {
    server.write_config().unwrap();
    let config = server.config_file().display().to_string();
    let words = [&["authority", "renew", "--config", &config], words].concat();
    let mut env = clock.env();
    env.push(("SOFTHSM2_CONF".into(), server.token().conf().display().to_string()));
    run("hallmark-server", &words, &env)
}

/// The body of a GET at the server's health listener, and whether it was 200.
fn get(server: &Server, path: &str) -> (bool, String) {
    // The server is ready a moment before it says where its health is served.
    let deadline = Instant::now() + PATIENCE;
    let address = loop {
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("health is served"));
        if let Some(address) = line.and_then(|line| line.split("address=").nth(1)) {
            break address.trim().to_owned();
        }
        assert!(Instant::now() < deadline, "no health listener in\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.starts_with("HTTP/1.1 200"), answer)
}

fn metric(server: &Server, name: &str) -> f64 {
    let (_, metrics) = get(server, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
        .trim()
        .parse()
        .unwrap()
}

/// How often the log has a code since `from`.
fn told(server: &Server, from: usize, code: &str) -> usize {
    server.log().get(from..).unwrap_or_default().matches(code).count()
}

/// Nobody tells that the authority grows old.
fn must_be_quiet(server: &Server) {
    assert!(metric(server, "hallmark_server_authority_stage") < 0.5);
    let (ready, body) = get(server, "/ready");
    assert!(ready, "{body}");
    let (exit, status) = operator(server, &["status"]);
    assert_eq!(exit, Some(DONE), "{status}");
    let (exit, doctor) = operator(server, &["doctor"]);
    assert_eq!(exit, Some(DONE), "{doctor}");
    for text in [&body, &status, &doctor, &server.log()] {
        assert!(CODES.iter().all(|code| !text.contains(code)), "{text}");
    }
}

/// Lifetimes that do not fit are told at the start; SVIDs that are cut short, once; and an authority that is followed in time, never.
#[test]
fn an_authority_that_is_followed_in_time_is_not_told_and_what_is_cut_short_is() {
    let mut trial = Trial::laid_out(1);
    let clock = MovedClock::new(&trial.folder.path().join("clock")).unwrap();
    trial.lab.server().set("authority", "ca_ttl", "3h".into());
    trial.lab.start_server().unwrap();
    let server = trial.lab.server();
    assert_eq!(
        told(server, 0, "HM-SRV-0042"),
        1,
        "SVIDs of an hour, and half an hour left"
    );
    server.stop();
    server.set("health", "listen", "127.0.0.1:0".into());
    server.launch_with(&clock.env()).unwrap();
    server.wait_serving(PATIENCE).unwrap();
    must_be_quiet(server);
    clock.set(HOUR / 60 * 91).unwrap();
    wait_for("the next one is prepared", || bundle(&server.admin_socket()).len() == 2);
    must_be_quiet(server);
    assert!(
        metric(server, "hallmark_server_svids_cut_short_total") < 0.5,
        "the control"
    );
    // An hour before the end is past, and the next one does not sign yet: an agent's and a workload's SVID would outlive the authority.
    clock.set(HOUR / 60 * 130).unwrap();
    register_own(&mut trial);
    let node = trial.node();
    node.launch_with(&clock.env()).unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let socket = node.workload_api();
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    let server = trial.lab.server();
    wait_for("what was cut short is counted", || {
        metric(server, "hallmark_server_svids_cut_short_total") > 1.5
    });
    wait_for("and told", || told(server, 0, "HM-SRV-0029") > 0);
    // Real time: a second line would have come by now.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(told(server, 0, "HM-SRV-0029"), 1, "once, not for each");
    assert!(metric(server, "hallmark_server_authority_stage") < 0.5);
    clock.set(HOUR / 60 * 152).unwrap();
    wait_for("the next one signs", || {
        authority(server, &["show"]).lines().any(|line| line.contains(" old "))
    });
    assert!(metric(server, "hallmark_server_authority_stage") < 0.5);
}

fn register_own(trial: &mut Trial) {
    let id = trial.node().agent_id().unwrap();
    register(&trial.lab.server().admin_socket(), entry(&id, "/workload")).unwrap();
}

/// Whether the leaf that is served now leads to this one certificate.
fn leads_to(leaf: &[u8], root: &[u8]) -> bool {
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    verify_chain(&[leaf], &[root], &domain, SystemTime::now()).is_ok()
}

#[test]
fn an_authority_is_renewed_and_nobody_is_lost() {
    let mut trial = Trial::laid_out(1);
    let clock = MovedClock::new(&trial.folder.path().join("clock")).unwrap();
    trial.lab.server().set("authority", "ca_ttl", "48h".into());
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    trial.lab.server().launch_with(&clock.env()).unwrap();
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    register_own(&mut trial);
    let node = trial.node();
    node.launch_with(&clock.env()).unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let (socket, pid) = (node.workload_api(), node.pid());
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    let server = trial.lab.server();
    let old = bundle(&server.admin_socket());
    assert_eq!(old.len(), 1);

    // Not while the server runs; not for less; and a dry run changes nothing.
    let (exit, said) = renew(server, &clock, &[]);
    assert!(exit == Some(FAILED) && said.contains("HM-STORE-0005"), "{said}");
    server.stop();
    server.set("authority", "ca_ttl", "24h".into());
    let (exit, said) = renew(server, &clock, &[]);
    assert!(exit == Some(FAILED) && said.contains("HM-CA-0021"), "{said}");
    server.set("authority", "ca_ttl", "96h".into());
    let (exit, said) = renew(server, &clock, &["--dry-run"]);
    assert!(exit == Some(7) && said.starts_with("would renew"), "{said}");
    server.launch_with(&clock.env()).unwrap();
    server.wait_serving(PATIENCE).unwrap();
    assert_eq!(bundle(&server.admin_socket()), old, "the control: nothing has changed");

    server.stop();
    let (exit, said) = renew(server, &clock, &["--reason", "due", "-o", "json"]);
    assert!(exit == Some(DONE) && said.contains("\"renewed\": true"), "{said}");
    server.launch_with(&clock.env()).unwrap();
    server.wait_serving(PATIENCE).unwrap();
    let both = bundle(&server.admin_socket());
    assert!(both.len() == 2 && both[0] == old[0] && both[1] != old[0]);
    let (_, records) = operator(server, &["record", "list", "--kind", "admin"]);
    assert!(
        records.contains("x509-authority-renew") && records.contains("reason: due"),
        "{records}"
    );

    // Who knows the old certificate alone believes what is issued now, and who knows the new one alone does too.
    let before = svids(&socket);
    let node = trial.node();
    wait_for("the agent has the new bundle", || {
        node.log().matches("the trust bundle has changed").count() == 1
    });
    assert_eq!(node.pid(), pid, "the same agent, never restarted");
    assert_eq!(svids(&socket), before, "and what it served goes on");
    node.stop();
    std::fs::remove_dir_all(node.folder().join("data")).unwrap();
    std::fs::create_dir(node.folder().join("data")).unwrap();
    // Its file has the old certificate alone.
    node.launch_with(&clock.env()).unwrap();
    node.wait_ready(PATIENCE).unwrap();
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    let now = svids(&socket);
    assert_ne!(now, before);
    for root in &both {
        assert!(leads_to(&now[0].1, root));
    }

    // The old certificate ends: it leaves the bundle, and everything goes on.
    clock.set(72 * HOUR).unwrap();
    let server = trial.lab.server();
    // The next one may be prepared by now.
    wait_for("the old certificate has left", || {
        let left = bundle(&server.admin_socket());
        !left.contains(&both[0]) && left.contains(&both[1])
    });
    wait_for("new SVIDs are served", || {
        svids(&socket).first().is_some_and(|svid| svid.1 != now[0].1)
    });
    trial.node().stop();
    trial.node().launch_with(&clock.env()).unwrap();
    trial.node().wait_ready(PATIENCE).unwrap();
    let server = trial.lab.server();
    server.stop();
    server.launch_with(&clock.env()).unwrap();
    server.wait_serving(PATIENCE).unwrap();
    let left = bundle(&server.admin_socket());
    assert!(
        !left.contains(&both[0]) && left.contains(&both[1]),
        "also after a restart"
    );
}

/// The serial number of the agent's own SVID.
fn own_serial(server: &Server) -> String {
    let agents = trial::agents(&server.admin_socket());
    agents[0].x509svid_serial_number.clone()
}

fn authority(server: &Server, words: &[&str]) -> String {
    let (exit, said) = operator(server, &[&["authority", "x509"], words].concat());
    assert_eq!(exit, Some(DONE), "{words:?}: {said}");
    said
}

/// One agent, never restarted, through a forced rotation, a taint, a revocation, and a rotation by itself.
#[test]
fn an_agent_goes_through_rotation_taint_and_revocation() {
    let mut trial = Trial::laid_out(1);
    let clock = MovedClock::new(&trial.folder.path().join("clock")).unwrap();
    trial.lab.server().set("authority", "ca_ttl", "48h".into());
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    trial.lab.server().launch_with(&clock.env()).unwrap();
    trial.lab.server().wait_serving(PATIENCE).unwrap();
    register_own(&mut trial);
    let node = trial.node();
    node.launch_with(&clock.env()).unwrap();
    node.wait_ready(PATIENCE).unwrap();
    let (socket, pid) = (node.workload_api(), node.pid());
    wait_for("an SVID is served", || svids(&socket).len() == 1);
    let admin = trial.lab.server().admin_socket();
    let first = bundle(&admin).remove(0);

    authority(trial.lab.server(), &["prepare", "--reason", "drill"]);
    let both = bundle(&admin);
    let second = both.iter().find(|it| **it != first).unwrap().clone();
    let knows = |trial: &mut Trial, times: usize| {
        wait_for("the agent has the new bundle", || {
            trial.node().log().matches("the trust bundle has changed").count() >= times
        });
    };
    knows(&mut trial, 1);
    authority(trial.lab.server(), &["activate", "--reason", "drill"]);
    let (serial, leaf) = (own_serial(trial.lab.server()), svids(&socket)[0].1.clone());
    assert!(leads_to(&leaf, &first), "what was issued before stays as it is");
    // Real time: long enough for several looks, with which nothing is renewed.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(
        (own_serial(trial.lab.server()), svids(&socket)[0].1.clone()),
        (serial.clone(), leaf)
    );

    // The control is above: only the taint has both renewed at once.
    let shown = authority(trial.lab.server(), &["show"]);
    let old = shown.lines().find(|line| line.contains(" old ")).unwrap();
    let old = old.split(' ').next().unwrap().to_owned();
    authority(trial.lab.server(), &["taint", &old, "--reason", "drill"]);
    wait_for("the agent's own SVID is another", || {
        own_serial(trial.lab.server()) != serial
    });
    wait_for("the workload's is signed by the other authority", || {
        svids(&socket).first().is_some_and(|svid| leads_to(&svid.1, &second))
    });
    authority(trial.lab.server(), &["revoke", &old, "--reason", "drill", "--yes"]);
    assert_eq!(bundle(&admin), std::slice::from_ref(&second));
    knows(&mut trial, 2);
    let more = entry(&trial.node().agent_id().unwrap(), "/more");
    register(&admin, more).unwrap();
    wait_for("the agent is served as before", || svids(&socket).len() == 2);

    // In all of this no handshake failed. When the clock jumps, what is shown has ended for a moment.
    let log = trial.node().log();
    assert!(!log.contains("ERROR"), "{log}");

    // By itself: half of its life, then five sixths.
    clock.set(25 * HOUR).unwrap();
    wait_for("the next one is prepared", || bundle(&admin).len() == 2);
    let third = bundle(&admin).into_iter().find(|it| *it != second).unwrap();
    knows(&mut trial, 3);
    clock.set(41 * HOUR).unwrap();
    let signs = |trial: &mut Trial, key_id: &str| {
        let shown = authority(trial.lab.server(), &["show"]);
        shown
            .lines()
            .any(|line| line.starts_with(key_id) && line.contains(" active "))
    };
    let third_id = SigningFacts::read(&third).unwrap().key_id;
    let third_id: String = third_id.iter().map(|byte| format!("{byte:02x}")).collect();
    wait_for("the third signs", || signs(&mut trial, &third_id));
    // What the second signed meanwhile has ended an hour later.
    clock.set(43 * HOUR).unwrap();
    wait_for("what is served is signed by the third", || {
        let served = svids(&socket);
        served.len() == 2 && served.iter().all(|svid| leads_to_at(&svid.1, &third, 43 * HOUR))
    });
    assert_eq!(trial.node().pid(), pid, "the same agent, never restarted");
}

/// As [`leads_to`], so many seconds from now.
fn leads_to_at(leaf: &[u8], root: &[u8], off: i64) -> bool {
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let at = SystemTime::now() + Duration::from_secs(off.unsigned_abs());
    verify_chain(&[leaf], &[root], &domain, at).is_ok()
}
