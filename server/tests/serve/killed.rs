//! The program itself, killed at any moment, and started again.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hallmark_api::{
    health::{HealthCheckRequest, health_client::HealthClient},
    svid::{MintX509svidRequest, svid_client::SvidClient},
};
use hallmark_attacks::{Wire, attest};
use hallmark_verify::testing::SoftwareMachine;
use tokio::net::UnixStream;

use crate::{
    client::local,
    lab::{Lab, isolated},
};

/// A server process, killed when dropped.
struct Process(Child);

impl Process {
    fn start(lab: &Lab) -> Self {
        fs::write(lab.folder.join("server.toml"), lab.settings.to_string()).unwrap();
        let log = fs::File::create(lab.folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_hallmark-server"))
            .args(["run", "--config"])
            .arg(lab.folder.join("server.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until it answers, and tells where.
    async fn ready(&mut self, lab: &Lab) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let log = fs::read_to_string(lab.folder.join("log")).unwrap();
            assert!(self.0.try_wait().unwrap().is_none(), "it ended:\n{log}");
            assert!(Instant::now() < until, "it does not answer:\n{log}");
            if UnixStream::connect(lab.admin_socket()).await.is_ok() {
                let mut health = HealthClient::new(local(&lab.admin_socket()).await);
                if health.check(HealthCheckRequest::default()).await.is_ok() {
                    let address = log
                        .split("serving address=")
                        .nth(1)
                        .and_then(|rest| rest.split_whitespace().next());
                    if let Some(address) = address {
                        return address.to_owned();
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end, and waits: how it ended, and its log.
    fn terminate(mut self, lab: &Lab) -> (std::process::ExitStatus, String) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = self.0.wait().unwrap();
        (ended, fs::read_to_string(lab.folder.join("log")).unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn token_object(lab: &Lab) -> PathBuf {
    let token = fs::read_dir(lab.folder.join("tokens"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    token.path().join("token.object")
}

/// Takes every object but the token itself out of it, for the next process to find.
fn forget_keys(token: &std::path::Path) {
    for entry in fs::read_dir(token.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "object") && path != token {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_start_that_is_killed_at_any_moment_leaves_one_authority() {
    isolated(
        "killed::a_start_that_is_killed_at_any_moment_leaves_one_authority",
        async |lab| {
            let token = token_object(&lab);
            let whole = fs::read(&token).unwrap();
            for round in 0..40 {
                // Store and keys go now and then, so that the first start itself is hit as well.
                if round % 10 == 0 {
                    drop(fs::remove_dir_all(lab.folder.join("data")));
                    forget_keys(&token);
                }
                let process = Process::start(&lab);
                // Real time: the moment at which it is killed is what is tried.
                tokio::time::sleep(Duration::from_millis(5 + round)).await;
                process.kill();
                // SoftHSM writes this file anew at every login, in place: killed in the midst of it, the token is gone.
                if fs::metadata(&token).unwrap().len() == 0 {
                    fs::write(&token, &whole).unwrap();
                }
            }
            let mut process = Process::start(&lab);
            process.ready(&lab).await;
            process.kill();
            let running = lab.start().await;
            let whole: Vec<_> = running.server.keys.list().await.unwrap();
            let authority = running.server.authority.load();
            assert_eq!(whole.iter().filter(|key| key.label == authority.label).count(), 1);
            assert_eq!(authority.bundle.x509_authorities.len(), 1);
            drop(authority);
            lab.stop(running).await;
        },
    );
}

#[test]
fn a_server_killed_under_load_forgets_nothing_that_it_said() {
    isolated(
        "killed::a_server_killed_under_load_forgets_nothing_that_it_said",
        async |lab| {
            let mut told = Vec::new();
            for round in 0..4_u64 {
                let mut process = Process::start(&lab);
                let address = process.ready(&lab).await;
                let mut nodes = tokio::task::JoinSet::new();
                for _ in 0..8 {
                    let (address, machine) = (address.clone(), SoftwareMachine::new(&lab.vendor));
                    nodes.spawn(async move {
                        let mut serials = None;
                        while let Ok(wire) = Wire::connect(&address).await {
                            let Ok(svid) = attest(&wire, &machine).await else { break };
                            serials = Some((svid.id.unwrap().path, svid.expires_at));
                        }
                        serials
                    });
                }
                // Real time: the moment at which it is killed is what is tried.
                tokio::time::sleep(Duration::from_millis(150 + round * 70)).await;
                process.kill();
                told.extend(nodes.join_all().await.into_iter().flatten());
            }
            assert!(told.len() >= 8, "the server was under load: {}", told.len());
            let running = lab.start().await;
            let server = &running.server;
            for (path, _) in &told {
                let id = hallmark_spiffe::SpiffeId::new(server.journal.trust_domain(), path).unwrap();
                let row = server.journal.node(&id).expect("who was told to be an agent is one");
                assert!(row.next.is_some() && !row.ak_name.is_empty());
            }
            let query = hallmark_state::RecordQuery {
                limit: 1_000_000,
                filter: hallmark_state::RecordFilter::Svids,
                ..Default::default()
            };
            let records = server.journal.store().records(query).await.unwrap();
            let (mut open, mut settled) = (0_i64, 0_i64);
            for stored in records {
                match stored.record.outcome {
                    hallmark_state::Outcome::Pending => open += 1,
                    _ => {
                        let detail: serde_json::Value = serde_json::from_str(&stored.record.detail).unwrap();
                        settled += detail["last"].as_i64().unwrap() - detail["first"].as_i64().unwrap() + 1;
                    }
                }
            }
            // The last one is this start's own identity, whose outcome may still be on its way.
            assert!(open - settled <= 1, "{open} intents, {settled} settled");
            lab.stop(running).await;
        },
    );
}

/// A process must not end while the token's module works: it tears itself down under its own feet.
#[test]
fn a_server_that_is_told_to_end_under_load_ends_cleanly() {
    isolated(
        "killed::a_server_that_is_told_to_end_under_load_ends_cleanly",
        async |mut lab| {
            // A slow token with one session: there is always something in line for it.
            lab.set("authority", "key_type", "rsa-4096");
            lab.set("hsm", "sessions", 1);
            let mut log = toml::Table::new();
            log.insert("level".into(), "info,hallmark_pkcs11=debug".into());
            lab.settings.insert("log".into(), log.into());
            for round in 0..12_u64 {
                let mut process = Process::start(&lab);
                process.ready(&lab).await;
                let key = rcgen::KeyPair::generate().unwrap();
                let mut params = rcgen::CertificateParams::default();
                params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://example.org/w".try_into().unwrap())];
                let csr: bytes::Bytes = params.serialize_request(&key).unwrap().der().to_vec().into();
                let mut callers = tokio::task::JoinSet::new();
                for _ in 0..64 {
                    let (channel, csr) = (local(&lab.admin_socket()).await, csr.clone());
                    let request = MintX509svidRequest { csr, ttl: 60 };
                    callers.spawn(async move {
                        let mut minting = SvidClient::new(channel);
                        while minting.mint_x509svid(request.clone()).await.is_ok() {}
                    });
                }
                // Real time: the moment at which it is stopped is what is tried.
                tokio::time::sleep(Duration::from_millis(200 + round * 13)).await;
                // Callers who hang up leave work behind that no connection waits for.
                if round % 3 != 0 {
                    callers.shutdown().await;
                }
                let asked = Instant::now();
                let (ended, log) = process.terminate(&lab);
                assert!(ended.success(), "round {round}: {ended}\n{log}");
                assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
                let let_go = log.find("nobody calls the token any more");
                assert!(
                    let_go.is_some() && let_go < log.find("stopped\n"),
                    "round {round}: something still held the token\n{log}"
                );
            }
            // What was cut off between intent and outcome, this start settles.
            let mut process = Process::start(&lab);
            process.ready(&lab).await;
            assert!(process.terminate(&lab).0.success());
        },
    );
}
