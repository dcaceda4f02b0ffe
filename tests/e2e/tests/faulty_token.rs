//! A server whose token fails as real ones do once in a year, made by a module of our own in front of SoftHSM
//! (tests/pkcs11-faults).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{MovedClock, Server, Token, binary};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use trial::{PATIENCE, Trial, bundle, wait_for};

const MINUTE: i64 = 60;

/// Our module, built when a test wants it.
fn module() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../pkcs11-faults/Cargo.toml");
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/pkcs11-faults");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--manifest-path", manifest])
        .args(["--target-dir", target])
        .status();
    assert!(built.unwrap().success());
    PathBuf::from(target).join("debug/libhallmark_pkcs11_faults.so")
}

/// A server with such a token, which runs.
struct Faulty {
    trial: Trial,
    clock: MovedClock,
    control: PathBuf,
}

impl Faulty {
    /// With an authority that lives for three hours.
    fn start() -> Self {
        let mut trial = Trial::laid_out(0);
        let clock = MovedClock::new(&trial.folder.path().join("clock")).unwrap();
        let control = trial.folder.path().join("control");
        std::fs::write(&control, "").unwrap();
        let server = trial.lab.server();
        server.set("authority", "ca_ttl", "3h".into());
        server.set("authority", "x509_svid_ttl", "10m".into());
        server.set("authority", "agent_ttl", "10m".into());
        server.set("hsm", "module", module().display().to_string().into());
        server.set("hsm", "probe_interval", "1s".into());
        server.set("health", "listen", "127.0.0.1:0".into());
        let mut env = clock.env();
        env.push(("PKCS11_FAULTS_MODULE".into(), Token::module().display().to_string()));
        env.push(("PKCS11_FAULTS_CONTROL".into(), control.display().to_string()));
        server.launch_with(&env).unwrap();
        server.wait_serving(PATIENCE).unwrap();
        Self { trial, clock, control }
    }

    /// What fails from now on; nothing when it is empty.
    fn fail(&self, faults: &str) {
        // Never half written: the module reads it at each call.
        let new = self.control.with_extension("new");
        std::fs::write(&new, faults).unwrap();
        std::fs::rename(new, &self.control).unwrap();
    }

    fn server(&mut self) -> &mut Server {
        self.trial.lab.server()
    }

    /// How a command of the operator ends, what it writes, and what it says.
    fn operator(&mut self, words: &[&str]) -> (Option<i32>, String, String) {
        let out = Command::new(binary("hallmark").unwrap())
            .args(words)
            .env("HALLMARK_ADMIN_SOCKET", self.server().admin_socket())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    }

    /// The answer to a GET at the health listener.
    fn get(&mut self, path: &str) -> String {
        let log = self.server().log();
        let line = log.lines().rfind(|line| line.contains("health is served")).unwrap();
        let address = line.split("address=").nth(1).unwrap().trim();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Has an X.509-SVID made; its file.
    fn mint_x509(&mut self) -> (Option<i32>, String, PathBuf) {
        let folder = self.trial.folder.path().join("minted");
        drop(std::fs::remove_dir_all(&folder));
        let (exit, out, err) = self.operator(&["svid", "mint", "x509", "/ci/deploy", "--write", &text(&folder)]);
        (exit, out + &err, folder)
    }

    fn mint_jwt(&mut self) -> (Option<i32>, String, String) {
        self.operator(&["svid", "mint", "jwt", "/ci/deploy", "--audience", "vault"])
    }

    /// Both kinds are made, and everything says that all is well.
    fn must_be_well(&mut self) {
        let since = Instant::now();
        while !self.get("/ready").starts_with("HTTP/1.1 200") {
            assert!(since.elapsed() < PATIENCE, "{}", self.get("/ready"));
            // Real time: the token is opened again by itself.
            std::thread::sleep(Duration::from_millis(50));
        }
        let (exit, said, file) = self.mint_x509();
        assert!(exit == Some(0) && file.exists(), "{said}");
        let (exit, token, said) = self.mint_jwt();
        assert!(exit == Some(0) && token.matches('.').count() == 2, "{said}");
        let (exit, said, _) = self.operator(&["hsm", "status"]);
        assert_eq!(exit, Some(0), "{said}");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_wrong_signature_never_leaves_a_running_server_and_its_token_is_out_of_service() {
    let mut faulty = Faulty::start();
    faulty.must_be_well();
    for fault in ["Sign flip", "Sign zero"] {
        faulty.fail(fault);
        let code = if fault == "Sign flip" {
            "HM-HSM-0028"
        } else {
            "HM-HSM-0022"
        };
        let (exit, said, file) = faulty.mint_x509();
        assert!(exit != Some(0) && said.contains("HM-HSM-"), "{said}");
        assert!(!file.exists(), "nothing was written");
        let (exit, token, said) = faulty.mint_jwt();
        assert!(
            exit != Some(0) && token.is_empty() && said.contains("HM-HSM-"),
            "{token}{said}"
        );
        let ready = faulty.get("/ready");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(code), "{ready}");
        for words in [["hsm", "status"].as_slice(), &["status"], &["doctor"]] {
            let (exit, out, err) = faulty.operator(words);
            assert!(
                exit != Some(0) && (out.clone() + &err).contains(code),
                "{words:?}: {out}{err}"
            );
        }
        assert!(faulty.get("/metrics").contains("hallmark_server_hsm_failures_total"));
        assert!(
            faulty
                .server()
                .log()
                .contains("the token is out of service until it signs rightly again")
        );
        faulty.fail("");
        faulty.must_be_well();
    }
}

/// What stands still is told; what needs no token goes on.
#[test]
fn a_token_that_stands_still_holds_nothing_that_needs_no_signature() {
    let mut faulty = Faulty::start();
    faulty.must_be_well();
    faulty.fail("Sign hang");
    let asked = Instant::now();
    let (exit, said, _) = faulty.mint_x509();
    assert!(exit != Some(0) && said.contains("HM-HSM-"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    for words in [
        ["entry", "list"].as_slice(),
        &["agent", "list"],
        &["authority", "x509", "show"],
    ] {
        let asked = Instant::now();
        let (exit, _, said) = faulty.operator(words);
        assert_eq!(exit, Some(0), "{words:?}: {said}");
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{words:?}: {:?}",
            asked.elapsed()
        );
    }
    let stuck = |faulty: &mut Faulty| -> f64 {
        let metrics = faulty.get("/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("hallmark_server_hsm_stuck_calls "));
        line.unwrap_or_else(|| panic!("{metrics}")).trim().parse().unwrap()
    };
    assert!(stuck(&mut faulty) > 0.5);
    let (_, said, _) = faulty.operator(&["hsm", "status"]);
    assert!(said.contains("hang"), "{said}");
    faulty.fail("");
    faulty.must_be_well();
    assert!(stuck(&mut faulty) < 0.5);
}

/// The next authority has no key, so the present one grows old, which is told in time, and more urgently as it goes on.
#[test]
fn a_token_that_makes_no_key_is_told_until_the_authority_ends_and_made_good_in_time() {
    let mut faulty = Faulty::start();
    faulty.must_be_well();
    faulty.fail("GenerateKeyPair code=0x70");
    for (at, code) in [(91, "HM-SRV-0026"), (151, "HM-SRV-0027"), (175, "HM-SRV-0028")] {
        faulty.clock.set(at * MINUTE).unwrap();
        let since = Instant::now();
        loop {
            let (_, status, _) = faulty.operator(&["status"]);
            if status.contains(code) {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{code}: {status}");
            // Real time: the server looks every few seconds.
            std::thread::sleep(Duration::from_millis(200));
        }
        let (exit, out, err) = faulty.operator(&["doctor"]);
        assert!(exit != Some(0) && (out.clone() + &err).contains(code), "{out}{err}");
        assert!(faulty.server().log().contains(code));
        let socket = faulty.server().admin_socket();
        assert_eq!(bundle(&socket).len(), 1, "no other is there");
        // It signs all the same.
        let (exit, said, _) = faulty.mint_x509();
        assert_eq!(exit, Some(0), "{said}");
    }
    faulty.fail("");
    wait_for("the next one signs", || {
        let (_, shown, _) = faulty.operator(&["authority", "x509", "show"]);
        shown.lines().any(|line| line.contains(" old "))
    });
    wait_for("nothing is told any more", || {
        let (_, status, _) = faulty.operator(&["status"]);
        !status.contains("HM-SRV-002")
    });
    faulty.must_be_well();
}
