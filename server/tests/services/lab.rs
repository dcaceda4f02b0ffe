//! A server in a folder of its own.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use hallmark_api::{
    entry::{BatchCreateEntryRequest, batch_create_entry_response, entry_server::Entry as _},
    types,
};
use hallmark_server::{
    api::{bundle::BundleService, entry::EntryService, local_authority::LocalAuthorityService, svid::SvidService},
    caller::Caller,
    clock::Clock,
    config,
    run::{Running, Server},
};
use hallmark_spiffe::{Selector, SpiffeId};
use hallmark_state::{Appraised, Approvals, Change, Node, NodeState, NodeSvid};
use tonic::Request;

const INSIDE: &str = "HALLMARK_SERVER_TEST_FOLDER";
pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// The files of the token's keys, one for each half.
pub(crate) fn key_files(folder: &Path) -> BTreeSet<PathBuf> {
    let tokens = fs::read_dir(folder.join("tokens")).unwrap();
    let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
    let is_key = |path: &PathBuf| path.extension().is_some_and(|it| it == "object") && !path.ends_with("token.object");
    files.map(|file| file.unwrap().path()).filter(is_key).collect()
}

/// Runs `body` in a child process, as SoftHSM takes its configuration from the environment. `name` is the test's
/// full name.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, body: impl FnOnce(PathBuf) -> F) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(body(folder.into()));
        // Everything has let go of the token before the process ends: SoftHSM tears itself down as it exits.
        drop(runtime);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("tokens")).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        path.join("tokens").display()
    );
    fs::write(path.join("softhsm2.conf"), conf).unwrap();
    fs::write(path.join("pin"), "1234").unwrap();
    fs::set_permissions(path.join("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path.join("server.toml"), configuration(path)).unwrap();
    let token = [
        "--init-token",
        "--free",
        "--label",
        "hallmark",
        "--pin",
        "1234",
        "--so-pin",
        "4321",
    ];
    for mut command in [
        with_token(path, Command::new("softhsm2-util"), &token),
        with_token(
            path,
            Command::new(std::env::current_exe().unwrap()),
            &["--exact", name, "--nocapture", "--include-ignored"],
        ),
    ] {
        let out = command.env(INSIDE, path).output().unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(out.status.success(), "{command:?}: {}\n{told}", out.status);
        assert!(
            command.get_program() == "softhsm2-util" || told.contains("1 passed"),
            "{name} did not run: {told}"
        );
        told.lines()
            .filter(|line| line.starts_with("measured:"))
            .for_each(|line| println!("{line}"));
    }
}

fn with_token(folder: &Path, mut command: Command, args: &[&str]) -> Command {
    command.args(args).env("SOFTHSM2_CONF", folder.join("softhsm2.conf"));
    command
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 1
trust_domain = "{TRUST_DOMAIN}"
data_dir = "{folder}/data"
[listen]
address = "127.0.0.1:0"
admin_socket = "{folder}/admin.sock"
[hsm]
module = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "hallmark"
pin = "file:{folder}/pin"
"#
    )
}

/// A running server and its services.
pub(crate) struct Lab {
    running: Running,
    pub(crate) server: Server,
    pub(crate) entries: EntryService,
    pub(crate) svids: SvidService,
    pub(crate) bundle: BundleService,
    pub(crate) local_authority: LocalAuthorityService,
}

impl Lab {
    pub(crate) async fn start(folder: &Path) -> Self {
        let config = config::load(&folder.join("server.toml"), None).unwrap();
        Self::of(Running::start(config, Clock::system()).await.unwrap())
    }

    /// Of a server that runs.
    pub(crate) fn of(running: Running) -> Self {
        let server = running.server.clone();
        Self {
            entries: server.services.entries.clone(),
            svids: server.services.svids.clone(),
            bundle: server.services.bundles.clone(),
            local_authority: server.services.local_authority.clone(),
            server,
            running,
        }
    }

    /// Stops the server and gives its files back.
    pub(crate) async fn stop(self) {
        let Self {
            running,
            server,
            entries,
            svids,
            bundle,
            local_authority,
        } = self;
        let journal = Arc::downgrade(&server.journal);
        drop((server, entries, svids, bundle, local_authority));
        running.stop().await.unwrap();
        // Connections and timers let go of the journal a moment later.
        for _ in 0..500 {
            if journal.strong_count() == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(journal.strong_count(), 0, "something still holds the journal");
    }

    /// Creates entries over the API.
    pub(crate) async fn create(&self, entries: Vec<types::Entry>) -> Vec<batch_create_entry_response::Result> {
        let request = BatchCreateEntryRequest {
            entries,
            output_mask: None,
        };
        self.entries
            .batch_create_entry(local(request))
            .await
            .unwrap()
            .into_inner()
            .results
    }

    /// Makes changes durable that no decision asked for: a state that tests need.
    pub(crate) async fn commit(&self, changes: Vec<Change>) {
        let put = self.server.journal.decide("test", |view| {
            Ok::<_, std::convert::Infallible>((view.decide(changes.clone(), Vec::new()), ()))
        });
        put.await.unwrap();
    }

    /// Puts an attested node in place, without its attestation.
    pub(crate) async fn attested(&self, name: &str, selectors: &[&str]) -> SpiffeId {
        let id = agent_id(name);
        let agent = Node {
            id: id.clone(),
            attestation_type: "tpm2".into(),
            ek_sha256: Some([1; 32]),
            ak_name: vec![0, 11],
            current: Some(NodeSvid {
                serial: 0xabc,
                expires_at: 4_000_000_000,
            }),
            next: None,
            selectors: selectors
                .iter()
                .map(|text| Selector::parse(text).unwrap())
                .collect::<BTreeSet<_>>(),
            state: NodeState::Active,
            since: 1,
            approvals: Approvals::default(),
            untrusted_reason: String::new(),
            appraised: Appraised {
                rules: self.server.journal.state().rules().revision,
                stale_at: None,
            },
            can_reattest: true,
            agent_version: "0.1.0".into(),
            facts: "{}".into(),
            attested_at: 1,
        };
        let agent = Arc::new(agent);
        self.commit(vec![Change::PutNode(agent)]).await;
        id
    }
}

pub(crate) fn agent_id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/spire/agent/tpm2/{name}")).unwrap()
}

/// A request from the admin socket.
pub(crate) fn local<T>(message: T) -> Request<T> {
    called_by(Caller::Local(Some(0)), message)
}

/// A request from an agent.
pub(crate) fn from_agent<T>(id: &SpiffeId, message: T) -> Request<T> {
    called_by(Caller::Agent(id.clone()), message)
}

fn called_by<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

pub(crate) fn id_message(path: &str) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: TRUST_DOMAIN.into(),
        path: path.into(),
    }
}

/// An entry for `path` below `parent`, for processes of the user `uid`.
pub(crate) fn entry(path: &str, parent: &str, uid: u32) -> types::Entry {
    types::Entry {
        spiffe_id: Some(id_message(path)),
        parent_id: Some(id_message(parent)),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: format!("uid:{uid}"),
        }],
        ..Default::default()
    }
}

/// Entries of about 60 kB each.
pub(crate) fn large(count: u32, parent: &str) -> Vec<types::Entry> {
    let large = |uid: u32| types::Entry {
        id: format!("large-{uid}"),
        dns_names: (0..250)
            .map(|n| format!("{n}.{0}.{0}.{0}.{0}.example", "n".repeat(56)))
            .collect(),
        ..entry(&format!("/large/{uid}"), parent, uid)
    };
    (0..count).map(large).collect()
}
