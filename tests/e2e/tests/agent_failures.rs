//! What keeps an agent from its identity: each fault with its coded message and its end, then the same agent without
//! the fault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{Fault, Lab, LabOptions, Node, TctiProxy, TpmSocket, binary};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use trial::{PATIENCE, Trial, agents, must_report, report, wait_for};

/// A server that runs and an agent that does not yet.
fn ready() -> Trial {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial
}

/// What was logged since the last look.
fn fresh_log(node: &Node) -> String {
    let path = node.folder().join("agent.log");
    let log = node.log();
    let _ = std::fs::remove_file(path);
    log
}

/// Starts the agent with a fault that it cannot start with; it says so and ends.
fn must_end(node: &mut Node, exit: i32, code: &str, words: &[&str]) {
    drop(fresh_log(node));
    node.launch().unwrap();
    let status = node.process().unwrap().wait_exit(Duration::from_secs(20)).unwrap();
    let log = node.log();
    must_report(&log, code, words);
    assert_eq!(status.code(), Some(exit), "{log}");
}

/// Starts the agent with a fault that may pass; it says so, keeps trying, and gets its identity once the fault is
/// gone, without being started again.
fn must_wait_out(node: &mut Node, code: &str, words: &[&str], remove: impl FnOnce()) {
    drop(fresh_log(node));
    node.launch().unwrap();
    let log = node.folder().join("agent.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for(&format!("{code} is told"), || report(&said(), code).is_some());
    assert!(
        node.process().unwrap().wait_exit(Duration::ZERO).is_err(),
        "it goes on: {}",
        said()
    );
    remove();
    node.wait_ready(PATIENCE).unwrap();
    must_report(&node.log(), code, words);
}

/// Stops the agent and makes it a machine that has never attested.
fn forget(node: &mut Node) {
    node.stop();
    let _ = std::fs::remove_file(node.folder().join("data").join("state.json"));
}

/// One of the TPM tools, on the agent's TPM.
fn tool(node: &Node, program: &str, args: &[&str]) {
    let out = Command::new(program)
        .args(args)
        .env("TPM2TOOLS_TCTI", node.tpm().tcti())
        .env("TSS2_LOG", "all+none")
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_tpm_that_is_not_there_ends_the_start() {
    let mut trial = ready();
    let node = trial.node();
    let good = node.tpm().tcti();
    node.set("tpm", "tcti", "swtpm:host=127.0.0.1,port=1".into());
    must_end(node, 4, "HM-TPM-0001", &["swtpm:host=127.0.0.1,port=1"]);
    node.set("tpm", "tcti", "device:/dev/no-such-tpm".into());
    must_end(node, 4, "HM-TPM-0001", &["/dev/no-such-tpm"]);
    node.set("tpm", "tcti", "cmd:tpm2_send".into());
    must_end(node, 2, "HM-CONF-0002", &["tcti", "cmd:tpm2_send"]);
    node.set("tpm", "tcti", good.into());
    node.start().unwrap();
}

/// Handshakes with the server need the TPM: where it is gone, the server is not to blame.
#[test]
fn a_tpm_that_goes_away_is_named_and_the_server_is_not_blamed() {
    let mut trial = ready();
    trial.node().start().unwrap();
    let (log, end) = (trial.node().folder().join("agent.log"), trial.node().log().len());
    let said = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.get(end..).unwrap_or_default().to_owned()
    };
    trial.node().tpm_mut().power_off();
    // The connection ends, so that the next handshake is due.
    trial.lab.server().stop();
    trial.lab.server().start().unwrap();
    let tcti = trial.node().tpm().tcti();
    wait_for("the TPM is named", || report(&said(), "HM-TPM-0001").is_some());
    must_report(
        &said(),
        "HM-TPM-0001",
        &[&tcti, "Connection refused", "software TPM does not run"],
    );
    assert!(!said().contains("HM-AGENT-0002"), "{}", said());
    let told = health(trial.node());
    assert!(
        told.0 == Some(1) && told.1.contains("tpm FAILED HM-TPM-0001"),
        "{told:?}"
    );
    // The control: the same machine with its TPM.
    trial.node().reboot().unwrap();
    trial.node().start().unwrap();
    assert_eq!(health(trial.node()).0, Some(0));
}

/// How the agent's health check ends, and what it says.
fn health(node: &Node) -> (Option<i32>, String) {
    let out = Command::new(binary("hallmark-agent").unwrap())
        .args(["healthcheck", "--verbose", "--config"])
        .arg(node.config_file())
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_tpm_that_refuses_is_told_apart_and_waited_for() {
    let mut trial = ready();
    let node = trial.node();
    let proxy = TctiProxy::start(node.tpm().port()).unwrap();
    node.set("tpm", "tcti", proxy.tcti().into());
    for (code, response) in [
        ("HM-TPM-0004", 0x921), // TPM_RC_LOCKOUT
        ("HM-TPM-0007", 0x902), // TPM_RC_OBJECT_MEMORY
        ("HM-TPM-0008", 0x922), // TPM_RC_RETRY
        ("HM-TPM-0008", 0x90a), // TPM_RC_TESTING
        ("HM-TPM-0009", 0x101), // TPM_RC_FAILURE
    ] {
        forget(node);
        proxy.set_rule(move |_, _| Fault::ResponseCode(response));
        must_wait_out(node, code, &[], || proxy.clear_rule());
    }
    // A storm that leaves gaps is only slower.
    forget(node);
    let mut count = 0_u32;
    proxy.set_rule(move |_, _| {
        count += 1;
        match count % 3 {
            0 => Fault::None,
            1 => Fault::ResponseCode(0x922),
            _ => Fault::ResponseCode(0x90a),
        }
    });
    drop(fresh_log(node));
    node.start().unwrap();
    assert!(!node.log().contains("HM-TPM-"), "{}", node.log());
}

#[test]
fn broken_answers_and_connections_are_told_and_lived_through() {
    let mut trial = ready();
    let node = trial.node();
    let proxy = TctiProxy::start(node.tpm().port()).unwrap();
    node.set("tpm", "tcti", proxy.tcti().into());
    let garbage: [Vec<u8>; 4] = [
        vec![0xff; 64],
        // A header alone that promises success and a body.
        vec![0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0],
        // A size that is smaller than the header.
        vec![0x80, 0x01, 0, 0, 0, 4, 0, 0, 0, 0],
        // A public area that ends in its middle.
        vec![0x80, 0x02, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 200, 0, 1],
    ];
    for bytes in garbage {
        forget(node);
        proxy.set_rule(move |_, _| Fault::Response(bytes.clone()));
        drop(fresh_log(node));
        node.launch().unwrap();
        let log = node.folder().join("agent.log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_for("the TPM is blamed", || said().contains("HM-TPM-00"));
        proxy.clear_rule();
        node.wait_ready(PATIENCE).unwrap();
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
    forget(node);
    proxy.set_rule(|_, _| Fault::Cut);
    must_wait_out(node, "HM-TPM-0010", &[], || proxy.clear_rule());
    // One bad answer at each step of an attestation; the next try succeeds.
    for step in 1_u32..=12 {
        forget(node);
        let mut count = 0;
        proxy.set_rule(move |_, _| {
            count += 1;
            match (count == step, step % 3) {
                (true, 0) => Fault::Cut,
                (true, 1) => Fault::FlipResponse(12),
                (true, _) => Fault::Response(vec![0x80, 0x01, 0, 0, 0, 11, 0, 0, 0, 0, 7]),
                _ => Fault::None,
            }
        });
        drop(fresh_log(node));
        let start = Instant::now();
        node.start().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "step {step}");
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
    let socket = trial.lab.server().admin_socket();
    assert_eq!(
        agents(&socket).len(),
        1,
        "one machine, however often it had to begin again"
    );
}

#[test]
fn hierarchies_that_are_closed_are_named() {
    let mut trial = ready();
    let node = trial.node();
    tool(node, "tpm2_hierarchycontrol", &["-C", "p", "ehEnable", "clear"]);
    drop(fresh_log(node));
    node.launch().unwrap();
    let log = node.folder().join("agent.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("the hierarchy is named", || report(&said(), "HM-TPM-0005").is_some());
    must_report(&said(), "HM-TPM-0005", &["endorsement hierarchy is disabled"]);
    // A software TPM serves one connection at a time: the agent has to let go of it.
    node.stop();
    tool(node, "tpm2_hierarchycontrol", &["-C", "p", "ehEnable", "set"]);
    node.start().unwrap();

    forget(node);
    tool(node, "tpm2_changeauth", &["-c", "endorsement", "secret"]);
    drop(fresh_log(node));
    node.launch().unwrap();
    wait_for("the password is told", || report(&said(), "HM-TPM-0006").is_some());
    must_report(&said(), "HM-TPM-0006", &["hierarchy has an authorization value set"]);
    node.stop();
    tool(node, "tpm2_changeauth", &["-c", "endorsement", "-p", "secret"]);
    node.start().unwrap();

    forget(node);
    // An owner's password is in nobody's way.
    tool(node, "tpm2_changeauth", &["-c", "owner", "secret"]);
    node.start().unwrap();
}

#[test]
fn what_other_programs_left_in_the_tpm_is_in_nobodys_way() {
    let mut trial = ready();
    let scratch = trial.folder.path().join("scratch.ctx").display().to_string();
    let node = trial.node();
    for _ in 0..3 {
        tool(node, "tpm2_createprimary", &["-C", "o", "-G", "ecc", "-c", &scratch]);
    }
    let mut tpm = TpmSocket::connect(node.tpm().port()).unwrap();
    // TPM2_GetCapability(HANDLES, transient): three of them fill the chip.
    let command = [
        0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 16,
    ];
    let answer = tpm.transact(&command).unwrap();
    assert_eq!(answer.get(15..19), Some([0, 0, 0, 3].as_slice()), "{answer:02x?}");
    drop(tpm);
    node.start().unwrap();

    // Another key where the endorsement key belongs.
    forget(node);
    tool(node, "tpm2_evictcontrol", &["-C", "o", "-c", "0x81010001"]);
    tool(node, "tpm2_createprimary", &["-C", "o", "-G", "ecc", "-c", &scratch]);
    tool(node, "tpm2_evictcontrol", &["-C", "o", "-c", &scratch, "0x81010001"]);
    drop(fresh_log(node));
    node.start().unwrap();
    let socket = trial.lab.server().admin_socket();
    assert_eq!(agents(&socket).len(), 1, "still known by its certified key");
}

#[test]
fn a_server_that_cannot_be_reached_is_waited_for() {
    let mut trial = ready();
    trial.lab.server().stop();
    let address = trial.lab.server().address();
    let node = trial.node();
    node.launch().unwrap();
    let log = node.folder().join("agent.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("it is told", || report(&said(), "HM-AGENT-0001").is_some());
    must_report(&said(), "HM-AGENT-0001", &[&address]);
    trial.lab.server().start().unwrap();
    trial.node().wait_ready(PATIENCE).unwrap();
}

#[test]
fn a_server_that_is_not_the_right_one_is_told_nothing() {
    let mut trial = ready();
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let domain = |name: &str, trust_domain: &str| {
        let options = LabOptions {
            folder: folder.path().join(name),
            trust_domain: trust_domain.into(),
            nodes: 0,
        };
        Lab::up(options).unwrap()
    };
    let (mut twin, mut stranger) = (domain("t", trial::DOMAIN), domain("s", "stranger.example"));
    let good = (trial.lab.bundle_file(), trial.lab.server().address());
    let set = |node: &mut Node, bundle: &Path, address: &str| {
        node.set("server", "trust_bundle", bundle.display().to_string().into());
        node.set("server", "address", address.to_owned().into());
    };
    // Another deployment of the same name; another trust domain altogether.
    for other in [&mut twin, &mut stranger] {
        let (address, socket) = (other.server().address(), other.server().admin_socket());
        let node = trial.lab.node(0).unwrap();
        forget(node);
        drop(fresh_log(node));
        set(node, &good.0, &address);
        node.launch().unwrap();
        let log = node.folder().join("agent.log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_for("it is told", || report(&said(), "HM-AGENT-0002").is_some());
        must_report(&said(), "HM-AGENT-0002", &[&address]);
        node.stop();
        assert!(agents(&socket).is_empty(), "no attestation was begun");
    }
    // A bundle of another trust domain is no bundle of this one.
    let node = trial.lab.node(0).unwrap();
    let foreign = (stranger.bundle_file(), stranger.server().address());
    set(node, &foreign.0, &foreign.1);
    drop(fresh_log(node));
    node.launch().unwrap();
    let log = node.folder().join("agent.log");
    wait_for("it is told", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        ["HM-CONF-0106", "HM-AGENT-0002"]
            .iter()
            .any(|code| report(&said, code).is_some())
    });
    node.stop();
    assert!(agents(&stranger.server().admin_socket()).is_empty());
    set(node, &good.0, &good.1);
    node.start().unwrap();
}

#[test]
fn what_is_wrong_on_the_machine_is_told() {
    let mut trial = ready();
    let node = trial.node();
    let socket = node.workload_api();
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    must_end(node, 1, "HM-WL-0020", &["workload.sock"]);
    // Whoever listened goes, and leaves a dead socket.
    drop(other);
    assert!(socket.exists());
    node.start().unwrap();
    node.stop();
    std::fs::write(&socket, "no socket").unwrap();
    must_end(node, 1, "HM-WL-0021", &["workload.sock"]);
    std::fs::remove_file(&socket).unwrap();

    let data = node.folder().join("data");
    node.set("", "data_dir", socket.join("below-a-file").display().to_string().into());
    std::fs::write(&socket, "a file").unwrap();
    must_end(node, 1, "HM-AGENT-0013", &["below-a-file"]);
    std::fs::remove_file(&socket).unwrap();
    node.set("", "data_dir", data.display().to_string().into());
    node.start().unwrap();
    node.stop();

    // A state that is damaged is set aside, not deleted, and the machine attests afresh.
    let state = data.join("state.json");
    let good = std::fs::read(&state).unwrap();
    let half = good.get(..good.len() / 2).unwrap().to_vec();
    for damaged in [Vec::new(), half, b"{\"version\": 99}".to_vec(), vec![0xff; 4096]] {
        std::fs::write(&state, &damaged).unwrap();
        drop(fresh_log(node));
        node.start().unwrap();
        must_report(&node.log(), "HM-AGENT-0012", &["set aside"]);
        assert!(node.log().contains("attested"), "{}", node.log());
        node.stop();
        let kept = std::fs::read_dir(&data)
            .unwrap()
            .flatten()
            .any(|file| std::fs::read(file.path()).is_ok_and(|kept| kept == damaged));
        assert!(kept, "what was found is kept for a report");
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_line() {
    let mut trial = ready();
    let node = trial.node();
    node.write_config().unwrap();
    let good = std::fs::read_to_string(node.config_file()).unwrap();
    let file = trial.folder.path().join("agent.toml");
    let line = |text: &str, what: &str| 1 + text.lines().position(|line| line.contains(what)).unwrap();
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let program = hallmark_kit::binary("hallmark-agent").unwrap();
        let out = Command::new(program)
            .args(["run", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let faults = [
        (good.replace("tcti =", "tctl ="), "tctl", "HM-CONF-0003", "tctl"),
        (
            good.replace("version = 1", "version = \"one\""),
            "version",
            "HM-CONF-0002",
            "string",
        ),
        (good.replace("[tpm]", "[tpm"), "[tpm", "HM-CONF-0002", ""),
    ];
    for (text, at, code, word) in faults {
        assert_ne!(text, good);
        let (exit, said) = run(&text);
        must_report(&said, code, &[word, &format!("agent.toml:{}:", line(&text, at))]);
        assert_eq!(exit, Some(2), "{said}");
    }
    for (text, code, word) in [
        (good.replace("version = 1\n", ""), "HM-CONF-0004", "version"),
        (
            good.replace("version = 1", "version = 2"),
            "HM-CONF-0005",
            "version = 2",
        ),
        (
            good.replace(trial::DOMAIN, "Not.A.Domain"),
            "HM-CONF-0002",
            "trust_domain",
        ),
        (good.replace("bundle.pem", "no.pem"), "HM-CONF-0106", "no.pem"),
    ] {
        assert_ne!(text, good);
        let (exit, said) = run(&text);
        must_report(&said, code, &[word]);
        assert_eq!(exit, Some(2), "{said}");
    }
    trial.node().start().unwrap();
}
