//! A `hallmark-server` with its folder, configuration and token.

use crate::process::Process;
use crate::softhsm::Token;
use crate::{AdminClient, LabError, binary, ports};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// One server of a lab.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    port: u16,
    config: Table,
    token: Token,
    launcher: Vec<String>,
    process: Option<Process>,
}

/// How long one question whether the server serves may take: whoever else has the socket may never answer.
const ONE_ANSWER: Duration = Duration::from_secs(2);

impl Server {
    /// Lays out a server: token, folders, configuration; nothing runs yet.
    ///
    /// # Errors
    /// When the token cannot be made, or the folder lies too deep for a unix socket.
    pub fn lay_out(folder: &Path, trust_domain: &str, ek_roots: &[PathBuf]) -> Result<Self> {
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let token = Token::create(&folder.join("token"), "hallmark-lab")?;
        let port = ports::free_pair()?;
        let socket = folder.join("admin").join("admin.sock");
        check_socket_path(&socket)?;
        let config = toml::toml! {
            version = 1
            trust_domain = ""
            data_dir = ""
            [listen]
            address = ""
            admin_socket = ""
            [hsm]
            module = ""
            token_label = ""
            pin = ""
            sessions = 4
            [authority]
            key_type = "ec-p256"
            [attestation.tpm2]
            ek_roots = []
            allowed_classes = ["discrete", "firmware", "virtual", "simulator"]
            [limits]
            attestations_per_second_per_ip = 0
            signing_per_second_per_ip = 0
            connections_per_ip = 0
        };
        let mut server = Self {
            folder: folder.to_owned(),
            port,
            config,
            token,
            launcher: Vec::new(),
            process: None,
        };
        let pin = format!("file:{}", server.token.pin_file().display());
        server.set("", "trust_domain", trust_domain.into());
        server.set("", "data_dir", data.display().to_string().into());
        server.set("listen", "address", format!("127.0.0.1:{port}").into());
        server.set("listen", "admin_socket", socket.display().to_string().into());
        server.set("hsm", "module", Token::module().display().to_string().into());
        server.set("hsm", "token_label", server.token.label().to_owned().into());
        server.set("hsm", "pin", pin.into());
        server.trust(ek_roots);
        Ok(server)
    }

    /// Trusts EK certificates that lead to these roots, and to no others.
    pub fn trust(&mut self, ek_roots: &[PathBuf]) {
        let roots = ek_roots.iter().map(|root| root.display().to_string().into()).collect();
        self.set("attestation.tpm2", "ek_roots", Value::Array(roots));
    }

    /// Takes endorsement keys of these templates, and of no others.
    pub fn take_ek_templates<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let names = names.into_iter().map(Into::into).collect();
        self.set("attestation.tpm2", "ek_templates", Value::Array(names));
    }

    /// Sets a configuration key of a table ("" for the top, dots between nested names).
    pub fn set(&mut self, table: &str, key: &str, value: Value) {
        set(&mut self.config, table, key, value);
    }

    /// Takes another configuration in the place of its own.
    pub fn replace_config(&mut self, config: Table) {
        self.config = config;
    }

    /// Its configuration, as the next start writes it.
    #[must_use]
    pub fn config(&self) -> &Table {
        &self.config
    }

    /// Starts the server from now on through a program that becomes the rest of its command line, such as `nsenter`.
    pub fn launch_through(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Writes the configuration as it stands.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write_config(&self) -> Result<()> {
        Ok(fs::write(self.config_file(), self.config.to_string())?)
    }

    /// Writes the configuration and starts the server; returns when it serves.
    ///
    /// # Errors
    /// When it ends, or is not ready within 30 s.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_serving(Duration::from_secs(30))
    }

    /// Writes the configuration and starts the server, without waiting for it.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_with(&[])
    }

    /// As [`Self::launch`], with further environment variables.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn launch_with(&mut self, more: &[(String, String)]) -> Result<()> {
        self.write_config()?;
        let mut command = self.launcher.clone();
        command.extend([
            binary("hallmark-server")?.display().to_string(),
            "run".into(),
            "--config".into(),
            self.config_file().display().to_string(),
        ]);
        let program = PathBuf::from(command.remove(0));
        let conf = self.token.conf().display().to_string();
        let mut env = vec![("SOFTHSM2_CONF".to_owned(), conf)];
        env.extend_from_slice(more);
        self.process = Some(Process::start(
            "hallmark-server",
            &program,
            &command,
            &env,
            &self.folder.join("server.log"),
        )?);
        Ok(())
    }

    /// Waits until the server serves.
    ///
    /// # Errors
    /// When it ends, or time runs out.
    pub fn wait_serving(&mut self, limit: Duration) -> Result<()> {
        let socket = self.admin_socket();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.process.as_mut() {
            Some(process) => Ok(process.wait_until(limit, || runtime.block_on(is_serving(&socket)))?),
            None => anyhow::bail!("the server was not started"),
        }
    }

    /// The running process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Stops it, orderly.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The token that holds its keys.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The folder that holds its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// host:port of the TLS listener.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin").join("admin.sock")
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("server.toml")
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }
}

async fn is_serving(socket: &Path) -> bool {
    tokio::time::timeout(ONE_ANSWER, says_serving(socket))
        .await
        .unwrap_or(false)
}

async fn says_serving(socket: &Path) -> bool {
    let Ok(mut client) = AdminClient::connect(socket).await else {
        return false;
    };
    let check = hallmark_api::health::HealthCheckRequest { service: String::new() };
    let serving = hallmark_api::health::health_check_response::ServingStatus::Serving;
    client
        .health
        .check(check)
        .await
        .is_ok_and(|r| r.into_inner().status() == serving)
}

/// Refuses a path that `sun_path` cannot hold.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), LabError> {
    if path.as_os_str().len() > 107 {
        return Err(LabError::SocketPathTooLong(path.to_owned()));
    }
    Ok(())
}

/// Sets a key in a (dotted) table, making the tables on the way.
pub(crate) fn set(config: &mut Table, table: &str, key: &str, value: Value) {
    let mut at = config;
    for name in table.split('.').filter(|name| !name.is_empty()) {
        let slot = at.entry(name).or_insert_with(|| Value::Table(Table::new()));
        match slot {
            Value::Table(inner) => at = inner,
            _ => return,
        }
    }
    at.insert(key.to_owned(), value);
}
