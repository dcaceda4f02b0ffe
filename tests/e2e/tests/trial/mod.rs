//! A lab for one test, and what tests ask of its parts.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use hallmark_api::agent::{BanAgentRequest, DeleteAgentRequest, ListAgentsRequest};
use hallmark_api::entry::{BatchCreateEntryRequest, ListEntriesRequest};
use hallmark_api::types::{Agent, Entry, Selector, Spiffeid};
use hallmark_api::workload::X509svidRequest;
use hallmark_kit::{AdminClient, Lab, LabOptions, Node, RecordedBoot, Token, WorkloadRequest, binary};
use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const DOMAIN: &str = "trial.example";
/// Longer than any one thing takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A lab in a folder whose name leaves room for socket paths.
pub(crate) struct Trial {
    pub(crate) lab: Lab,
    pub(crate) folder: tempfile::TempDir,
}

impl Trial {
    /// A command of the server's program: how it ended, and what it said.
    pub(crate) fn program(&mut self, words: &[&str]) -> (Option<i32>, String) {
        let server = self.lab.server();
        let out = Command::new(binary("hallmark-server").unwrap())
            .args(words)
            .arg("--config")
            .arg(server.config_file())
            .env("SOFTHSM2_CONF", server.token().conf())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(text).unwrap())
    }

    /// Laid out, with so many machines; nothing runs yet.
    pub(crate) fn laid_out(nodes: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
        let options = LabOptions {
            folder: folder.path().join("l"),
            trust_domain: DOMAIN.into(),
            nodes,
        };
        let mut lab = Lab::lay_out(options).unwrap();
        // The maker's root, which the server pins, comes into being with its first TPM.
        for _ in 0..nodes.max(1) {
            lab.build_node().unwrap();
        }
        Self { lab, folder }
    }

    pub(crate) fn node(&mut self) -> &mut Node {
        self.lab.node(0).unwrap()
    }
}

/// A lab whose one machine was booted as recorded, and runs; and the machine's id.
pub(crate) fn booted(boot: &RecordedBoot) -> (Trial, String) {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().boot(boot).unwrap();
    if let Err(error) = trial.node().start() {
        panic!("{error}\n{}", trial.lab.server().log());
    }
    let id = trial.node().agent_id().unwrap();
    (trial, id)
}

/// Runs one exchange from a test that is not asynchronous, within bounds.
pub(crate) fn ask<T>(exchange: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await.unwrap() })
}

/// Waits until it holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn id(text: &str) -> Option<Spiffeid> {
    let (trust_domain, path) = text.strip_prefix("spiffe://")?.split_once('/')?;
    Some(Spiffeid {
        trust_domain: trust_domain.into(),
        path: format!("/{path}"),
    })
}

/// The entry of a workload that runs as the test's own user below an agent.
pub(crate) fn entry(agent: &str, path: &str) -> Entry {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    Entry {
        spiffe_id: id(&format!("spiffe://{DOMAIN}{path}")),
        parent_id: id(agent),
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: format!("uid:{uid}"),
        }],
        ..Entry::default()
    }
}

/// Creates an entry; its id, or the words of who refused.
pub(crate) async fn create(admin: &mut AdminClient, entry: Entry) -> Result<String, String> {
    let request = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    let answer = admin.entry.batch_create_entry(request).await;
    let mut results = answer
        .map_err(|status| status.message().to_owned())?
        .into_inner()
        .results;
    let result = results.pop().unwrap();
    let status = result.status.unwrap();
    match status.code {
        0 => Ok(result.entry.unwrap().id),
        _ => Err(status.message),
    }
}

/// As [`create`], over a connection of its own.
pub(crate) fn register(socket: &Path, entry: Entry) -> Result<String, String> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.map_err(|error| error.to_string())?;
        create(&mut admin, entry).await
    })
}

pub(crate) fn entry_ids(socket: &Path) -> BTreeSet<String> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let listed = admin.entry.list_entries(ListEntriesRequest::default()).await;
        listed
            .unwrap()
            .into_inner()
            .entries
            .into_iter()
            .map(|entry| entry.id)
            .collect()
    })
}

pub(crate) fn agents(socket: &Path) -> Vec<Agent> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        admin
            .agent
            .list_agents(ListAgentsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .agents
    })
}

pub(crate) fn ban(socket: &Path, agent: &str) {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        admin.agent.ban_agent(BanAgentRequest { id: id(agent) }).await.unwrap();
    });
}

pub(crate) fn evict(socket: &Path, agent: &str) {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        admin
            .agent
            .delete_agent(DeleteAgentRequest { id: id(agent) })
            .await
            .unwrap();
    });
}

/// Labels of the keys in the token, and which of them signs.
pub(crate) fn token_keys(socket: &Path) -> Vec<(String, String)> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let listed = admin
            .admin
            .list_hsm_keys(hallmark_api::admin::ListHsmKeysRequest {})
            .await
            .unwrap();
        listed
            .into_inner()
            .keys
            .into_iter()
            .map(|key| (key.label, key.r#use))
            .collect()
    })
}

/// The authorities of the bundle, DER.
pub(crate) fn bundle(socket: &Path) -> Vec<Vec<u8>> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let request = hallmark_api::bundle::GetBundleRequest { output_mask: None };
        let bundle = admin.bundle.get_bundle(request).await.unwrap().into_inner();
        bundle
            .x509_authorities
            .into_iter()
            .map(|authority| authority.asn1.to_vec())
            .collect()
    })
}

/// The SPIFFE IDs and certificates that an agent serves to the test now.
pub(crate) fn svids(workload_api: &Path) -> Vec<(String, Vec<u8>)> {
    ask(async {
        let Ok(mut client) = WorkloadRequest::connect(workload_api).await else {
            return Vec::new();
        };
        let request = WorkloadRequest::with_header(X509svidRequest {});
        let Ok(stream) = client.fetch_x509svid(request).await else {
            return Vec::new();
        };
        match stream.into_inner().message().await {
            Ok(Some(answer)) => answer
                .svids
                .into_iter()
                .map(|svid| (svid.spiffe_id, svid.x509_svid.to_vec()))
                .collect(),
            _ => Vec::new(),
        }
    })
}

/// The report of a code in a log: its line and the lines of cause and next step below it.
pub(crate) fn report(log: &str, code: &str) -> Option<String> {
    let (at, _) = log.match_indices(&format!("{code}: ")).last()?;
    let mut lines = log.get(at..)?.lines();
    let mut report = lines.next()?.to_owned();
    for line in lines.take_while(|line| {
        ["  compared: ", "  cause: ", "  next: "]
            .iter()
            .any(|label| line.starts_with(label))
    }) {
        report.push('\n');
        report.push_str(line);
    }
    Some(report)
}

/// Asserts that a fault is reported as every fault is: code and what failed, likely cause, next step, in this order.
pub(crate) fn must_report(log: &str, code: &str, words: &[&str]) {
    let Some(report) = report(log, code) else {
        panic!("no {code} in:\n{log}")
    };
    let cause = report.find("\n  cause: ");
    let next = report.find("\n  next: ");
    assert!(cause.is_some() && cause < next, "{report}");
    for word in words {
        assert!(report.contains(word), "no {word:?} in {report}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

/// Destroys both halves of a key, as another program that has the PIN can.
pub(crate) fn destroy_key(token: &Token, label: &str) {
    let pin = std::fs::read_to_string(token.pin_file()).unwrap();
    for half in ["privkey", "pubkey"] {
        let out = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(Token::module())
            .args(["--token-label", token.label(), "--login", "--pin", pin.trim()])
            .args(["--delete-object", "--type", half, "--label", label])
            .env("SOFTHSM2_CONF", token.conf())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
