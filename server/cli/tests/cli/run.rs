//! Starts the services and the program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hallmark_api::{
    admin::{admin_server::AdminServer, lifecycle_server::LifecycleServer, provision_server::ProvisionServer},
    agent::agent_server::AgentServer,
    bundle::bundle_server::BundleServer,
    entry::entry_server::EntryServer,
    localauthority::local_authority_server::LocalAuthorityServer,
    svid::svid_server::SvidServer,
};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};
use tokio_stream::wrappers::UnixListenerStream;

use crate::fake::Fake;

/// A server on a socket, for as long as this lives.
pub(crate) struct Server {
    folder: TempDir,
    fake: Fake,
    _runtime: Runtime,
}

/// What the program did.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new();
        let runtime = Runtime::new().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("admin.sock")).unwrap()
        };
        let services = tonic::transport::Server::builder()
            .add_service(AdminServer::new(fake.clone()))
            .add_service(LifecycleServer::new(fake.clone()))
            .add_service(ProvisionServer::new(fake.clone()))
            .add_service(AgentServer::new(fake.clone()))
            .add_service(EntryServer::new(fake.clone()))
            .add_service(LocalAuthorityServer::new(fake.clone()))
            .add_service(SvidServer::new(fake.clone()))
            .add_service(BundleServer::new(fake.clone()));
        runtime.spawn(services.serve_with_incoming(UnixListenerStream::new(listener)));
        Self {
            folder,
            fake,
            _runtime: runtime,
        }
    }

    pub(crate) fn fake(&self) -> &Fake {
        &self.fake
    }

    /// Two machines are installed.
    pub(crate) fn installs(&self) {
        self.fake.installs();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub(crate) fn run(&self, line: &str) -> Done {
        run(&self.socket(), line)
    }

    /// Runs, expects the exit code 0 and nothing on stderr, and reads the JSON.
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let done = self.run(&format!("{line} -o json"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{line}: {}", done.stdout);
        serde_json::from_str(&done.stdout).unwrap()
    }

    /// The same, where another exit code is expected.
    pub(crate) fn json_of(&self, line: &str, code: i32) -> serde_json::Value {
        let done = self.run(&format!("{line} -o json"));
        assert_eq!((done.code, done.stderr.as_str()), (code, ""), "{line}: {}", done.stdout);
        serde_json::from_str(&done.stdout).unwrap()
    }
}

/// Runs the program with the words of `line`.
pub(crate) fn run(socket: &Path, line: &str) -> Done {
    program(socket).args(line.split_whitespace()).output().unwrap().into()
}

pub(crate) fn program(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hallmark"));
    command
        .env_clear()
        .env("HALLMARK_ADMIN_SOCKET", socket)
        .stdin(std::process::Stdio::null());
    command
}
