//! `hallmark-agent api`: identities for workloads without code, by the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hallmark_interop::WorkloadAgent;
use hallmark_kit::binary;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> PathBuf {
    binary("hallmark-agent").unwrap()
}

fn api(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("api").args(words).env_remove("SPIFFE_ENDPOINT_SOCKET");
    command
}

/// What a command says, tells, and ends with.
async fn ran(mut command: Command) -> (i32, String, String) {
    let out = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let [said, told] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    (out.status.code().unwrap(), said, told)
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many connections of the socket the kernel knows: a connected server end carries its path, and state 03.
fn connected(socket: &Path) -> usize {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let is_ours = |line: &&str| line.ends_with(&*socket.to_string_lossy()) && line.contains(" 03 ");
    table.lines().filter(is_ours).count()
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_fetched_shown_and_written() {
    let agent = WorkloadAgent::start().unwrap();
    agent
        .publish([agent.entry("web", 1).unwrap(), agent.entry("api", 2).unwrap()])
        .unwrap();
    let socket = agent.socket().display().to_string();
    let folder = agent.folder().join("svids");
    let written = folder.display().to_string();
    let words = ["fetch", "x509", "--socket", &socket, "--write", &written, "-o", "json"];
    let (code, said, told) = ran(api(&words)).await;
    assert_eq!((code, told.as_str()), (0, ""), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["svids"][0]["spiffe_id"], "spiffe://example.org/web");
    assert_eq!(
        (&said["svids"][1]["hint"], &said["svids"][1]["authorities"]),
        (&"api".into(), &1.into())
    );
    assert!(!said.to_string().contains("PRIVATE"), "no key is shown");
    for name in [
        "svid.pem",
        "key.pem",
        "bundle.pem",
        "svid.1.pem",
        "key.1.pem",
        "bundle.1.pem",
    ] {
        assert!(
            fs::read_to_string(folder.join(name))
                .unwrap()
                .starts_with("-----BEGIN "),
            "{name}"
        );
    }
    // Another program finds that they fit.
    let verify = ["verify", "-CAfile", "bundle.pem", "svid.pem"];
    let verified = Command::new("openssl")
        .args(verify)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let of = |kind: &str, file: &str, more: &str| {
        let out = Command::new("openssl")
            .args([kind, "-in", file, more, "-noout"])
            .current_dir(&folder)
            .output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let public = Command::new("openssl")
        .args(["pkey", "-in", "key.pem", "-pubout"])
        .current_dir(&folder)
        .output();
    let public = String::from_utf8(public.unwrap().stdout).unwrap();
    assert!(public.contains("PUBLIC KEY") && of("x509", "svid.pem", "-pubkey") == public);

    // The variable of every SPIFFE client says where, and --silent says nothing.
    let mut silent = api(&["fetch", "x509", "--silent", "--write", &written]);
    silent.env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
    assert_eq!(ran(silent).await, (0, String::new(), String::new()));
    let (code, said, _) = ran(api(&["fetch", "x509", "--socket", &agent.endpoint()])).await;
    assert!(
        code == 0 && said.contains("SPIFFE ID    spiffe://example.org/web\n") && said.contains("expires "),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_had_is_told_with_its_code() {
    let agent = WorkloadAgent::start().unwrap();
    let socket = agent.socket().display().to_string();
    let nowhere = agent.folder().join("nowhere").display().to_string();
    for (socket, exit, code) in [
        ("tcp://127.0.0.1:1", 2, "HM-WL-0030"),
        (nowhere.as_str(), 4, "HM-WL-0031"),
        (&socket, 4, "HM-WL-0033"),
    ] {
        let (found, said, told) = ran(api(&["fetch", "x509", "--socket", socket, "--timeout", "1s"])).await;
        assert_eq!((found, said.as_str()), (exit, ""), "{told}");
        assert!(told.starts_with(code) && told.lines().count() >= 3, "{told}");
    }
    agent.publish([]).unwrap();
    let (found, _, told) = ran(api(&["fetch", "x509", "--socket", &socket])).await;
    assert_eq!(found, 3, "{told}");
    assert!(
        told.starts_with("HM-WL-0032") && told.contains("no identity issued (HM-WL-0011)"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_starting_is_waited_for() {
    let agent = WorkloadAgent::start().unwrap();
    let socket = agent.socket().display().to_string();
    let fetching = tokio::spawn(ran(api(&["fetch", "x509", "--socket", &socket, "--timeout", "60s"])));
    wait_for("the program has connected", || connected(&agent.socket()) > 0);
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let (code, said, told) = fetching.await.unwrap();
    assert_eq!(code, 0, "{said}{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_has_the_identity_of_its_binary() {
    let agent = WorkloadAgent::start_with_binaries().unwrap();
    let (ours, other) = (
        agent.entry_for("web", &program()),
        agent.entry_for("other", "/bin/sleep".as_ref()),
    );
    agent.publish([ours.unwrap(), other.unwrap()]).unwrap();
    let (code, said, told) = ran(api(&["fetch", "x509", "-o", "json", "--socket", &agent.endpoint()])).await;
    assert_eq!(code, 0, "{told}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["svids"].as_array().unwrap().len(), 1);
    assert_eq!(said["svids"][0]["spiffe_id"], "spiffe://example.org/web");
}

/// A running `api watch`, asked to stop when dropped.
struct Watch {
    child: Child,
    told: PathBuf,
}

impl Watch {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let told = folder.join("told");
        let mut command = api(&[&["watch"], words].concat());
        command.stdout(fs::File::create(folder.join("said")).unwrap());
        command.stderr(fs::File::create(&told).unwrap()).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Self { child, told }
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap()
    }

    /// Asks it to stop; gives its exit code.
    fn stop(mut self) -> Option<i32> {
        self.ask();
        self.child.wait().unwrap().code()
    }

    fn ask(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn serial(file: &Path) -> String {
    let out = Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_keeps_files_up_to_date_and_tells_the_workload() {
    let place = tempfile::tempdir().unwrap();
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let (svids, calls) = (place.path().join("svids"), place.path().join("calls"));
    // The hook notes which certificate it was told of.
    let hook = format!(
        "openssl x509 -noout -serial -in \"$HALLMARK_SVID_DIR/svid.pem\" >> {}; echo \"$HALLMARK_SPIFFE_ID\"",
        calls.display()
    );
    let (socket, folder) = (agent.endpoint(), svids.display().to_string());
    let words = ["--socket", &socket, "--write", &folder, "--exec", &hook, "-o", "json"];
    let watch = Watch::start(place.path(), &words);
    let mut expected = Vec::new();
    for turn in 1..=3 {
        wait_for("the hook is run", || lines(&calls).len() == turn);
        expected.push(serial(&svids.join("svid.pem")).trim_end().to_owned());
        assert_eq!(lines(&calls), expected);
        agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    }
    wait_for("the last change", || lines(&calls).len() == 4);
    assert!(
        expected.windows(2).all(|pair| pair[0] != pair[1]),
        "each is another: {expected:?}"
    );
    let said: Vec<Value> = lines(&place.path().join("said"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said.len(), 4);
    assert_eq!(said[0]["svids"][0]["spiffe_id"], "spiffe://example.org/web");
    wait_for("the hook's last words", || lines(&watch.told).len() == 4);
    assert_eq!(
        lines(&watch.told),
        ["spiffe://example.org/web"; 4],
        "the hook's words are no data"
    );
    assert_eq!(watch.stop(), Some(0));

    // Started again, nothing is written, and the workload is told once: it may have missed it.
    let before = fs::read_link(svids.join("current")).unwrap();
    let watch = Watch::start(place.path(), &words);
    wait_for("the hook is run", || lines(&calls).len() == 5);
    assert_eq!(fs::read_link(svids.join("current")).unwrap(), before);
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_is_told_and_tried_again() {
    let place = tempfile::tempdir().unwrap();
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let tries = place.path().join("tries");
    let hook = format!("echo x >> {0}; test $(wc -l < {0}) -ge 3", tries.display());
    let (socket, folder) = (agent.endpoint(), place.path().join("svids").display().to_string());
    let watch = Watch::start(
        place.path(),
        &["--socket", &socket, "--write", &folder, "--exec", &hook, "--silent"],
    );
    wait_for("the third try", || lines(&tries).len() == 3);
    let told = watch.told();
    assert_eq!(
        told.matches("HM-WL-0039: the command after the change failed").count(),
        2,
        "{told}"
    );
    assert!(
        told.contains("exit status: 1; tried again in 1 s") && told.contains("tried again in 2 s"),
        "{told}"
    );
    // Real time: a fourth try would have come by now.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(lines(&tries).len(), 3, "it is done");
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_goes_and_comes_back_is_found_again() {
    let place = tempfile::tempdir().unwrap();
    let (socket, svids) = (place.path().join("api.sock"), place.path().join("svids"));
    let first = WorkloadAgent::start().unwrap();
    first.publish([first.entry("web", 1).unwrap()]).unwrap();
    symlink(first.socket(), &socket).unwrap();
    let (address, folder) = (socket.display().to_string(), svids.display().to_string());
    let watch = Watch::start(place.path(), &["--socket", &address, "--write", &folder]);
    wait_for("the first identity", || svids.join("svid.pem").exists());
    let before = serial(&svids.join("svid.pem"));
    drop(first);
    wait_for("the loss is told", || watch.told().contains("HM-WL-003"));
    assert_eq!(serial(&svids.join("svid.pem")), before, "what was had stays");
    // It is back, and has nothing for us at first.
    let second = WorkloadAgent::start().unwrap();
    second.publish([]).unwrap();
    fs::remove_file(&socket).unwrap();
    symlink(second.socket(), &socket).unwrap();
    wait_for("that is told", || watch.told().contains("HM-WL-0032"));
    second.publish([second.entry("web", 1).unwrap()]).unwrap();
    wait_for("the new identity", || serial(&svids.join("svid.pem")) != before);
    let told = watch.told();
    assert_eq!(told.matches("HM-WL-0032").count(), 1, "each thing is told once: {told}");
    assert_eq!(watch.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_ends_takes_its_hook_with_it() {
    let place = tempfile::tempdir().unwrap();
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let pid = place.path().join("pid");
    let hook = format!("echo $$ > {}; sleep 1000", pid.display());
    let (socket, folder) = (agent.endpoint(), place.path().join("svids").display().to_string());
    let watch = Watch::start(
        place.path(),
        &["--socket", &socket, "--write", &folder, "--exec", &hook],
    );
    wait_for("the hook runs", || !lines(&pid).is_empty());
    let hook = format!("/proc/{}/stat", lines(&pid)[0]);
    assert!(Path::new(&hook).exists(), "the control");
    assert_eq!(watch.stop(), Some(0));
    let is_over = || fs::read_to_string(&hook).map_or(true, |stat| stat.contains(") Z "));
    wait_for("the hook is ended", is_over);
}
