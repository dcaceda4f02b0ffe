//! SIGHUP: both programs read their configuration again, apply what can be applied, name what cannot, and go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{EkAuthority, Process, SwtpmOptions, binary};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use toml::Value;
use trial::{DOMAIN, PATIENCE, Trial, agents, entry, must_report, register, svids, wait_for};

/// The service manager's end of the programs' word to it.
struct Manager(UnixDatagram);

impl Manager {
    /// And how to start a program so that it finds it.
    fn at(path: &Path) -> (Self, Vec<String>) {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let launcher = vec!["env".into(), format!("NOTIFY_SOCKET={}", path.display())];
        (Self(socket), launcher)
    }

    /// What it is told next, but for signs of life.
    fn told(&self) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = self.0.recv(&mut bytes).unwrap();
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if !text.starts_with("WATCHDOG=") {
                return text;
            }
        }
    }

    /// It is told of one reload, from its beginning to its end; what became of it.
    fn reload(&self) -> String {
        let begun = self.told();
        let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        let done = self.told();
        done.strip_prefix("READY=1\nSTATUS=").unwrap().to_owned()
    }
}

const DONE: &str = "the configuration was read again";

/// Both programs heed SIGHUP before they read their configuration, which takes them as long as somebody makes it take.
#[test]
fn a_hangup_while_a_program_starts_does_not_end_it() {
    let mut trial = Trial::laid_out(1);
    // The agent's bundle is there once the server has run.
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    trial.node().write_config().unwrap();
    let conf = trial.lab.server().token().conf().display().to_string();
    let server = trial.lab.server().config_file();
    let agent = trial.node().config_file();
    for (program, config) in [("hallmark-server", server), ("hallmark-agent", agent)] {
        let folder = trial.folder.path().join(program);
        std::fs::create_dir(&folder).unwrap();
        let (pipe, log) = (folder.join("pipe.toml"), folder.join("log"));
        assert!(
            Command::new("mkfifo")
                .args(["-m", "600"])
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let words = ["run".to_owned(), "--config".to_owned(), pipe.display().to_string()];
        let variables = [("SOFTHSM2_CONF".to_owned(), conf.clone())];
        let mut process = Process::start(program, &binary(program).unwrap(), &words, &variables, &log).unwrap();
        let status = format!("/proc/{}/status", process.pid());
        wait_for("SIGHUP is heeded", || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1)
        });
        process.signal(Signal::HUP);
        // The reload that it asked for reads the configuration once more.
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&pipe, &text).unwrap();
        let whole = folder.join("whole.toml");
        std::fs::write(&whole, &text).unwrap();
        std::fs::set_permissions(&whole, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&whole, &pipe).unwrap();
        wait_for("it reloads once it serves", || process.log().contains(DONE));
        process.kill();
    }
}

#[test]
fn a_server_applies_what_it_can_and_names_what_takes_a_restart() {
    let mut trial = Trial::laid_out(1);
    let (manager, launcher) = Manager::at(&trial.folder.path().join("notify"));
    trial.lab.server().launch_through(launcher);
    trial.lab.start_server().unwrap();
    assert_eq!(manager.told(), "READY=1");
    trial.node().start().unwrap();
    let socket = trial.lab.server().admin_socket();
    let pid = trial.lab.server().pid();
    let ek = trial.node().tpm().ek_sha256().unwrap();
    let reload = |trial: &mut Trial, key: (&str, &str), value: Value| {
        trial.lab.server().set(key.0, key.1, value);
        trial.lab.server().write_config().unwrap();
        trial.lab.server().process().unwrap().signal(Signal::HUP);
        manager.reload()
    };
    // The log is written beside the work.
    let must_log = |trial: &mut Trial, words: &str| wait_for(words, || trial.lab.server().log().contains(words));

    assert_eq!(reload(&mut trial, ("log", "level"), "debug".into()), DONE);
    must_log(&mut trial, "changed=\"log.level\"");
    must_log(&mut trial, "DEBUG");
    let denied = Value::Array(vec![ek.into()]);
    assert_eq!(reload(&mut trial, ("attestation.tpm2.deny", "eks"), denied), DONE);
    // At once, not when it attests.
    must_log(&mut trial, "a node is no longer trusted");
    assert_eq!(
        reload(&mut trial, ("attestation.tpm2.deny", "eks"), Value::Array(Vec::new())),
        DONE
    );
    must_log(&mut trial, "a node is trusted again");

    let told = reload(&mut trial, ("hsm", "sessions"), 5.into());
    assert_eq!(told, "keys have changed that take a restart: hsm.sessions");
    must_log(&mut trial, "HM-CONF-0202");
    must_report(
        &trial.lab.server().log(),
        "HM-CONF-0202",
        &["hsm.sessions: in force 4, read 5"],
    );
    // It is said each time, until it is so.
    assert!(reload(&mut trial, ("log", "level"), "info".into()).ends_with("hsm.sessions"));
    assert_eq!(reload(&mut trial, ("hsm", "sessions"), 4.into()), DONE);

    // A PIN in the same file.
    let pin = trial.lab.server().token().pin_file();
    let right = std::fs::read_to_string(&pin).unwrap();
    std::fs::write(&pin, "another").unwrap();
    assert!(reload(&mut trial, ("log", "level"), "info".into()).ends_with("hsm.pin"));
    std::fs::write(&pin, right).unwrap();

    // A file that cannot be used, in each way.
    let faults = [
        (("log", "level"), "verbose".into(), "HM-CONF-0002"),
        (("log", "levle"), "info".into(), "HM-CONF-0003"),
        (
            ("attestation.tpm2", "ek_roots"),
            Value::Array(vec!["/missing".into()]),
            "HM-CONF-0010",
        ),
        // Nothing of it is taken: its administrators would be of another trust domain, too.
        (("", "trust_domain"), "other.test".into(), "HM-CONF-0006"),
    ];
    for ((table, key), value, code) in faults {
        let good = trial.lab.server().config().clone();
        let told = reload(&mut trial, (table, key), value);
        assert!(told.starts_with("the configuration was not read again"), "{told}");
        must_log(&mut trial, &format!("compared: {code}"));
        must_report(&trial.lab.server().log(), "HM-CONF-0201", &[code]);
        std::fs::write(trial.lab.server().config_file(), good.to_string()).unwrap();
        trial.lab.server().replace_config(good);
    }
    assert_eq!(trial.lab.server().pid(), pid);
    let agent = trial.node().agent_id().unwrap();
    register(&socket, entry(&agent, "/web")).unwrap();
    let api = trial.node().workload_api();
    wait_for("it serves on", || !svids(&api).is_empty());
    trial.lab.server().stop();
    assert_eq!(manager.told(), "STOPPING=1");
}

#[test]
fn a_maker_is_trusted_from_the_reload_on_that_names_its_root() {
    let mut trial = Trial::laid_out(1);
    let maker = EkAuthority::create(&trial.folder.path().join("maker")).unwrap();
    trial.lab.build_node_from(&maker, SwtpmOptions::default()).unwrap();
    trial.lab.start_server().unwrap();
    trial.lab.node(1).unwrap().launch().unwrap();
    let socket = trial.lab.server().admin_socket();
    let log = trial.lab.node(1).unwrap().folder().join("agent.log");
    wait_for("the server refuses the maker", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("HM-AGENT-0003"))
    });
    assert!(agents(&socket).is_empty());
    let roots = [maker.root(), maker.issuer()];
    trial.lab.server().trust(&roots);
    trial.lab.server().write_config().unwrap();
    trial.lab.server().process().unwrap().signal(Signal::HUP);
    trial.lab.node(1).unwrap().wait_ready(PATIENCE).unwrap();
    assert_eq!(agents(&socket).len(), 1);
}

#[test]
fn an_agent_applies_what_it_can_and_names_what_takes_a_restart() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let (manager, launcher) = Manager::at(&trial.folder.path().join("notify"));
    trial.node().launch_through(launcher);
    trial.node().start().unwrap();
    assert_eq!(manager.told(), "READY=1");
    let pid = trial.node().pid();
    let reload = |trial: &mut Trial, table: &str, key: &str, value: Value| {
        trial.node().set(table, key, value);
        trial.node().write_config().unwrap();
        trial.node().process().unwrap().signal(Signal::HUP);
        manager.reload()
    };
    assert_eq!(reload(&mut trial, "log", "level", "debug".into()), DONE);
    wait_for("it says more", || trial.node().log().contains("DEBUG"));
    let told = reload(&mut trial, "tpm", "ek_chain", true.into());
    assert_eq!(told, "keys have changed that take a restart: tpm.ek_chain");
    wait_for("HM-CONF-0202", || trial.node().log().contains("HM-CONF-0202"));
    must_report(
        &trial.node().log(),
        "HM-CONF-0202",
        &["tpm.ek_chain: in force none, read true"],
    );
    let told = reload(&mut trial, "log", "level", "verbose".into());
    assert!(told.starts_with("the configuration was not read again"), "{told}");
    wait_for("HM-CONF-0201", || trial.node().log().contains("HM-CONF-0201"));
    must_report(&trial.node().log(), "HM-CONF-0201", &["HM-CONF-0002"]);
    assert_eq!(trial.node().pid(), pid);
    assert!(
        trial
            .node()
            .process()
            .unwrap()
            .wait_exit(std::time::Duration::ZERO)
            .is_err()
    );
    assert!(trial.node().agent_id().unwrap().contains(DOMAIN));
}

/// What a command says, however it ends.
fn said(program: &str, words: &[&str], env: (&str, &Path)) -> String {
    let mut command = Command::new(binary(program).unwrap());
    let out = command.args(words).env(env.0, env.1).output().unwrap();
    String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
}

/// What a program with this log answers at its health listener.
fn get(log: &str, path: &str) -> String {
    let lines = log.lines().filter(|line| line.contains("health is served"));
    let mut addresses = lines.filter_map(|line| line.split("address=").nth(1));
    let address = addresses.find(|address| !address.starts_with("unix:")).unwrap();
    let mut stream = TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether every place that tells those who watch the program with this log shows the refused configuration, or none does;
/// it is ready all the same.
fn tells(refused: bool, texts: &[String], log: &str, metric: &str) -> bool {
    let (ready, metrics) = (get(log, "/ready"), get(log, "/metrics"));
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let shows = |text: &String| text.contains("configuration") && text.contains("HM-CONF-0201");
    let line = format!("{metric} {}", i32::from(refused));
    texts.iter().chain([&ready]).all(|text| shows(text) == refused) && metrics.lines().any(|found| found == line)
}

#[test]
fn a_refused_reload_is_told_to_those_who_watch() {
    let mut trial = Trial::laid_out(1);
    trial.lab.server().set("health", "listen", "127.0.0.1:0".into());
    trial.node().set("health", "listen", "127.0.0.1:0".into());
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    // Who asks is told what was found within the last second.
    let look = |trial: &mut Trial, refused: bool| {
        let server = trial.lab.server();
        let (log, socket) = (server.log(), server.admin_socket());
        wait_for("the server tells", || {
            let texts = ["status", "doctor"].map(|word| said("hallmark", &[word], ("HALLMARK_ADMIN_SOCKET", &socket)));
            tells(refused, &texts, &log, "hallmark_server_reload_failed")
        });
        let log = trial.node().log();
        wait_for("the agent tells", || {
            tells(refused, &[], &log, "hallmark_agent_reload_failed")
        });
    };
    let reload = |trial: &mut Trial, level: &str, word: &str| {
        let before = (
            trial.lab.server().log().matches(word).count(),
            trial.node().log().matches(word).count(),
        );
        trial.lab.server().set("log", "level", level.into());
        trial.lab.server().write_config().unwrap();
        trial.lab.server().process().unwrap().signal(Signal::HUP);
        trial.node().set("log", "level", level.into());
        trial.node().write_config().unwrap();
        trial.node().process().unwrap().signal(Signal::HUP);
        wait_for(word, || {
            trial.lab.server().log().matches(word).count() > before.0
                && trial.node().log().matches(word).count() > before.1
        });
    };
    look(&mut trial, false);
    reload(&mut trial, "verbose", "HM-CONF-0201");
    look(&mut trial, true);
    reload(&mut trial, "debug", "the configuration was read again");
    look(&mut trial, false);
}
