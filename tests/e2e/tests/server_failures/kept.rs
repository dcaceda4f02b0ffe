//! A server that has something to lose.

use crate::trial::{DOMAIN, PATIENCE, Trial, bundle, entry, entry_ids, register, report, token_keys};
use hallmark_kit::{Process, binary};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// Exit codes of the product.
pub(crate) const UNEXPECTED: i32 = 1;
pub(crate) const CONFIGURATION: i32 = 2;
pub(crate) const UNREACHABLE: i32 = 4;

/// A fault is told within this time, also on a busy machine; the wait for another program's lock is the longest part.
const SOON: Duration = Duration::from_secs(12);

/// What a server must still have after a fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    authorities: Vec<Vec<u8>>,
    pub(crate) keys: Vec<(String, String)>,
    pub(crate) entries: BTreeSet<String>,
}

/// A server that was started once, made its authority, took an entry, and was stopped.
pub(crate) struct Kept {
    pub(crate) trial: Trial,
    launcher: Vec<String>,
    before: Option<Held>,
}

impl Kept {
    /// Laid out, and never started.
    pub(crate) fn new() -> Self {
        Self {
            trial: Trial::laid_out(0),
            launcher: Vec::new(),
            before: None,
        }
    }

    /// With an authority and an entry, and stopped.
    pub(crate) fn filled() -> Self {
        let mut kept = Self::new();
        kept.fill();
        kept
    }

    /// Starts it, gives it an entry, notes what it has, and stops it.
    pub(crate) fn fill(&mut self) {
        self.trial.lab.start_server().unwrap();
        let agent = format!("spiffe://{DOMAIN}/spire/agent/tpm2/none");
        register(&self.trial.lab.server().admin_socket(), entry(&agent, "/kept")).unwrap();
        self.before = Some(self.held());
        self.trial.lab.server().stop();
    }

    /// Starts it from now on through another program.
    pub(crate) fn launch_through(&mut self, launcher: Vec<String>) {
        self.trial.lab.server().launch_through(launcher.clone());
        self.launcher = launcher;
    }

    /// What the running server has.
    pub(crate) fn held(&mut self) -> Held {
        let socket = self.trial.lab.server().admin_socket();
        Held {
            authorities: bundle(&socket),
            keys: token_keys(&socket),
            entries: entry_ids(&socket),
        }
    }

    /// What operators did, as the running server lists it.
    pub(crate) fn records(&mut self) -> String {
        let socket = self.trial.lab.server().admin_socket();
        let out = hallmark_kit::hallmark(&socket, &["record", "list", "--kind", "admin"]).unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// Its configuration.
    pub(crate) fn config(&mut self) -> Table {
        self.trial.lab.server().config().clone()
    }

    /// Its configuration with one key set.
    pub(crate) fn with(&mut self, table: &str, key: &str, value: impl Into<Value>) -> Table {
        let mut config = self.config();
        let mut at = &mut config;
        for name in table.split('.').filter(|name| !name.is_empty()) {
            let inner = at.entry(name).or_insert_with(|| Table::new().into());
            at = inner.as_table_mut().unwrap();
        }
        at.insert(key.into(), value.into());
        config
    }

    /// Its data folder.
    pub(crate) fn data(&mut self) -> PathBuf {
        self.trial.lab.server().folder().join("data")
    }

    /// A path in the test's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.trial.folder.path().join(name)
    }

    /// A file in the test's own folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The server must end at once with this exit code, and its last words must be this report, in which `*` stands for
    /// words that are the system's.
    pub(crate) fn must_refuse(&mut self, config: &Table, exit: i32, expected: &str) {
        self.must_refuse_text(&config.to_string(), &[], exit, expected);
    }

    /// As [`Self::must_refuse`], with the configuration as text and further environment variables.
    pub(crate) fn must_refuse_text(&mut self, config: &str, env: &[(&str, &str)], exit: i32, expected: &str) {
        let file = self.file("faulty.toml", config);
        self.must_refuse_file(&file, env, exit, expected);
    }

    /// As [`Self::must_refuse`], with a configuration file that may be missing.
    pub(crate) fn must_refuse_file(&mut self, config: &Path, env: &[(&str, &str)], exit: i32, expected: &str) {
        let log = self.path("faulty.log");
        let _ = std::fs::remove_file(&log);
        let mut command = self.launcher.clone();
        let server = binary("hallmark-server").unwrap();
        command.push(server.display().to_string());
        command.extend(["run".into(), "--config".into(), config.display().to_string()]);
        let token = self.trial.lab.server().token().conf().display().to_string();
        let mut variables = vec![("SOFTHSM2_CONF".to_owned(), token)];
        variables.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let program = PathBuf::from(command.remove(0));
        let mut process = Process::start("hallmark-server", &program, &command, &variables, &log).unwrap();
        let status = process.wait_exit(SOON).unwrap();
        must_end_with(&process.log(), expected);
        assert_eq!(status.code(), Some(exit), "{}", process.log());
    }

    /// Without the fault the same server starts, and has what it had.
    pub(crate) fn must_go_on(&mut self) {
        self.trial.lab.start_server().unwrap();
        let held = self.held();
        if let Some(before) = &self.before {
            assert_eq!(&held, before);
        }
        self.trial.lab.server().stop();
    }

    /// A command of the server's program: how it ended, and what it said.
    pub(crate) fn program(&mut self, words: &[&str]) -> (Option<i32>, String) {
        self.trial.program(words)
    }

    /// The server's own health check.
    pub(crate) fn health(&mut self) -> (Option<i32>, String) {
        self.program(&["healthcheck", "--verbose"])
    }

    /// Waits until the running server's health check ends so.
    pub(crate) fn must_become(&mut self, exit: i32) -> String {
        let start = std::time::Instant::now();
        loop {
            let (ended, said) = self.health();
            if ended == Some(exit) {
                return said;
            }
            assert!(start.elapsed() < PATIENCE, "{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asserts that a log's last words are a report as expected, whole: code and what failed, values compared, likely cause,
/// next step.
fn must_end_with(log: &str, expected: &str) {
    let code = expected.split(':').next().unwrap();
    let Some(found) = report(log, code) else {
        panic!("no {code} in:\n{log}")
    };
    for part in ["\n  cause: ", "\n  next: "] {
        assert!(expected.contains(part), "an expectation that leaves out{part}");
    }
    let lines: (Vec<&str>, Vec<&str>) = (found.lines().collect(), expected.lines().collect());
    let fits = lines.0.len() == lines.1.len() && lines.0.iter().zip(&lines.1).all(|(line, form)| has_form(line, form));
    assert!(fits, "expected:\n{expected}\nfound:\n{found}");
    assert!(log.trim_end().ends_with(&found), "more was said after it: {log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Whether a line is as the form says, in which each `*` stands for one word or more.
fn has_form(line: &str, form: &str) -> bool {
    let mut parts = form.split('*');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match (open, rest.find(part)) {
            (true, _) => return !rest.is_empty(),
            (false, Some(at)) if at > 0 => rest = rest.get(at + part.len()..).unwrap_or_default(),
            (false, _) => return false,
        }
    }
    open || rest.is_empty()
}

#[test]
fn a_form_takes_what_it_says_and_nothing_else() {
    for (line, form, fits) in [
        ("a b c", "a b c", true),
        ("a b c", "a * c", true),
        ("a b c", "a *", true),
        ("a b c", "a b", false),
        ("a  c", "a * c", false),
        ("a ", "a *", false),
        ("a b c d", "a * c", false),
        ("b", "a *", false),
    ] {
        assert_eq!(has_form(line, form), fits, "{line} {form}");
    }
}
