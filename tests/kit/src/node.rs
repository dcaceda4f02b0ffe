//! A machine: a TPM and the `hallmark-agent` that runs on it.

use crate::boot::RecordedBoot;
use crate::process::Process;
use crate::server::{check_socket_path, set};
use crate::swtpm::{EkAuthority, Swtpm, SwtpmOptions};
use crate::{WorkloadRequest, binary};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// How a node is made.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Its name; also its folder's.
    pub name: String,
    /// The trust domain it joins.
    pub trust_domain: String,
    /// host:port of the server.
    pub server_address: String,
    /// The PEM file with the server's trust bundle.
    pub bundle_file: PathBuf,
    /// How its TPM is made.
    pub tpm: SwtpmOptions,
}

/// One machine of a lab.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    options: NodeOptions,
    config: Table,
    tpm: Swtpm,
    launcher: Vec<String>,
    process: Option<Process>,
}

impl Node {
    /// Manufactures the TPM, powers it on and writes the agent's configuration; the agent does not run yet.
    ///
    /// # Errors
    /// When the TPM cannot be made, or the folder lies too deep for a unix socket.
    pub fn build(folder: &Path, authority: &EkAuthority, options: NodeOptions) -> Result<Self> {
        fs::create_dir_all(folder.join("data"))?;
        let socket = folder.join("api").join("workload.sock");
        check_socket_path(&socket)?;
        let mut tpm = Swtpm::manufacture(&folder.join("tpm"), authority, options.tpm.clone())?;
        tpm.power_on()?;
        let mut config = Table::new();
        set(&mut config, "", "version", Value::Integer(1));
        set(&mut config, "", "trust_domain", options.trust_domain.clone().into());
        set(
            &mut config,
            "",
            "data_dir",
            folder.join("data").display().to_string().into(),
        );
        // The machine that the lab runs on has logs of its own, which have nothing to do with this TPM.
        for log in ["tcg", "systemd", "ima"] {
            set(&mut config, "measurements", log, String::new().into());
        }
        set(&mut config, "server", "address", options.server_address.clone().into());
        set(
            &mut config,
            "server",
            "trust_bundle",
            options.bundle_file.display().to_string().into(),
        );
        set(&mut config, "tpm", "tcti", tpm.tcti().into());
        set(
            &mut config,
            "workload_api",
            "socket",
            socket.display().to_string().into(),
        );
        Ok(Self {
            folder: folder.to_owned(),
            options,
            config,
            tpm,
            launcher: Vec::new(),
            process: None,
        })
    }

    /// Sets a configuration key of the agent (see [`crate::Server::set`]).
    pub fn set(&mut self, table: &str, key: &str, value: Value) {
        set(&mut self.config, table, key, value);
    }

    /// Starts the agent from now on through a program that becomes the rest of its command line.
    pub fn launch_through(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Writes the agent's configuration as it stands.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write_config(&self) -> Result<()> {
        Ok(fs::write(self.config_file(), self.config.to_string())?)
    }

    /// Writes the configuration and starts the agent, without waiting for it.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn launch(&mut self) -> Result<()> {
        self.launch_with(&[])
    }

    /// As [`Self::launch`], with further environment variables.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub fn launch_with(&mut self, env: &[(String, String)]) -> Result<()> {
        self.write_config()?;
        let mut command = self.launcher.clone();
        command.extend([
            binary("hallmark-agent")?.display().to_string(),
            "run".to_owned(),
            "--config".into(),
            self.config_file().display().to_string(),
        ]);
        let program = PathBuf::from(command.remove(0));
        let log = self.folder.join("agent.log");
        self.process = Some(Process::start(
            &format!("hallmark-agent {}", self.options.name),
            &program,
            &command,
            env,
            &log,
        )?);
        Ok(())
    }

    /// Waits until the agent holds its identity and answers workloads.
    ///
    /// # Errors
    /// When it ends, or time runs out.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let socket = self.workload_api();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.process.as_mut() {
            Some(process) => Ok(process.wait_until(limit, || runtime.block_on(WorkloadRequest::is_ready(&socket)))?),
            None => anyhow::bail!("the agent of {} was not started", self.options.name),
        }
    }

    /// Starts the agent and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::launch`] and [`Self::wait_ready`].
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready(Duration::from_secs(60))
    }

    /// The agent's running process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Stops the agent, orderly; the TPM stays on.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Turns the machine off and on: the agent stops, the TPM is reset and measures its firmware again.
    ///
    /// # Errors
    /// When the TPM does not come up.
    pub fn reboot(&mut self) -> Result<()> {
        self.stop();
        self.tpm.power_off();
        self.tpm.power_on()?;
        let tcti = self.tpm.tcti();
        self.set("tpm", "tcti", tcti.into());
        Ok(())
    }

    /// Turns the machine off; gives the folder of its TPM's state.
    pub(crate) fn power_off(&mut self) -> PathBuf {
        self.stop();
        self.tpm.power_off();
        self.tpm.state()
    }

    /// Boots the machine as another one was booted: it is turned off and on, its registers are extended as the logs of
    /// `boot` say, and the agent finds those logs.
    ///
    /// # Errors
    /// When the TPM does not come up, or a log does not read.
    pub fn boot(&mut self, boot: &RecordedBoot) -> Result<()> {
        self.stop();
        self.tpm.power_off();
        self.tpm.power_on_as(boot)?;
        let tcti = self.tpm.tcti();
        self.set("tpm", "tcti", tcti.into());
        let path = |path: &Path| path.display().to_string();
        self.set("measurements", "tcg", path(&boot.eventlog).into());
        let ima = boot.ima.as_deref().map(path).unwrap_or_default();
        self.set("measurements", "ima", ima.into());
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its TPM.
    #[must_use]
    pub fn tpm(&self) -> &Swtpm {
        &self.tpm
    }

    /// Its TPM, to be switched off or on under the agent.
    pub fn tpm_mut(&mut self) -> &mut Swtpm {
        &mut self.tpm
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The SPIFFE ID that its agent is to get.
    ///
    /// # Errors
    /// When its TPM has no EK certificate to read the key from.
    pub fn agent_id(&self) -> Result<String> {
        Ok(format!(
            "spiffe://{}/spire/agent/tpm2/{}",
            self.options.trust_domain,
            self.tpm.ek_sha256()?
        ))
    }

    /// The Workload API socket.
    #[must_use]
    pub fn workload_api(&self) -> PathBuf {
        self.folder.join("api").join("workload.sock")
    }

    /// The agent's configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    /// The agent's process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What the agent has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }
}
