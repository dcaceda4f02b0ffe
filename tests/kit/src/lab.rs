//! A whole throw-away trust domain.

use crate::node::{Node, NodeOptions};
use crate::server::Server;
use crate::swtpm::{EkAuthority, SwtpmOptions};
use crate::{AdminClient, LabError, RecordedBoot};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use hallmark_api::bundle::GetBundleRequest;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to bring up.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// An empty or new folder; everything lies below it.
    pub folder: PathBuf,
    /// The trust domain's name.
    pub trust_domain: String,
    /// How many machines.
    pub nodes: usize,
}

/// What a lab is made of, for programs that use it. Paths are absolute.
#[derive(Debug, Clone, Serialize)]
pub struct LabReport {
    /// The trust domain's name.
    pub trust_domain: String,
    /// The server.
    pub server: ServerReport,
    /// The machines.
    pub nodes: Vec<NodeReport>,
}

/// The server of a [`LabReport`].
#[derive(Debug, Clone, Serialize)]
pub struct ServerReport {
    /// host:port.
    pub address: String,
    /// Unix socket.
    pub admin_socket: PathBuf,
    /// Trust bundle, PEM.
    pub bundle_file: PathBuf,
    /// TOML.
    pub config_file: PathBuf,
    /// Process id.
    pub pid: u32,
}

/// A machine of a [`LabReport`].
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// The agent's SPIFFE ID.
    pub agent_id: String,
    /// Unix socket of the Workload API.
    pub workload_api: PathBuf,
    /// TCTI string of its TPM.
    pub tpm: String,
    /// TOML.
    pub config_file: PathBuf,
    /// The agent's process id.
    pub pid: u32,
}

/// A running trust domain. Dropping it stops every process that it started.
#[derive(Debug)]
pub struct Lab {
    // Fields drop in order: agents first, then the server.
    nodes: Vec<Node>,
    server: Server,
    ek_authority: EkAuthority,
    options: LabOptions,
}

impl Lab {
    /// Lays out a lab without machines and without a running server, so that its configuration can be changed.
    ///
    /// # Errors
    /// When the folder is not empty or a part cannot be made.
    pub fn lay_out(options: LabOptions) -> Result<Self> {
        fs::create_dir_all(&options.folder)?;
        let folder = options.folder.canonicalize()?;
        if fs::read_dir(&folder)?.next().is_some() {
            return Err(LabError::FolderNotEmpty(folder).into());
        }
        let ek_authority = EkAuthority::create(&folder.join("tpm-maker"))?;
        let server = Server::lay_out(
            &folder.join("server"),
            &options.trust_domain,
            &[ek_authority.root(), ek_authority.issuer()],
        )?;
        Ok(Self {
            nodes: Vec::new(),
            server,
            ek_authority,
            options: LabOptions { folder, ..options },
        })
    }

    /// Brings up the whole lab; returns when every agent holds its identity.
    ///
    /// # Errors
    /// When a part cannot be made or does not become ready.
    pub fn up(options: LabOptions) -> Result<Self> {
        Self::up_as(options, &[])
    }

    /// The same, of machines that boot as recorded: the first as the first of `boots`, and so on, in turns.
    ///
    /// # Errors
    /// As [`up`](Self::up); or a log does not read.
    pub fn up_as(options: LabOptions, boots: &[RecordedBoot]) -> Result<Self> {
        let mut lab = Self::lay_out(options)?;
        // The manufacturer's root comes into being with its first TPM, so even a lab of no nodes makes one.
        for _ in 0..lab.options.nodes.max(1) {
            lab.build_node()?;
        }
        lab.nodes.truncate(lab.options.nodes);
        for (node, boot) in lab.nodes.iter_mut().zip(boots.iter().cycle()) {
            node.boot(boot)?;
        }
        lab.start_server()?;
        for node in &mut lab.nodes {
            node.launch()?;
        }
        for node in &mut lab.nodes {
            node.wait_ready(Duration::from_secs(90))?;
        }
        Ok(lab)
    }

    /// Adds a machine with its TPM on; its agent does not run yet.
    ///
    /// # Errors
    /// When the TPM cannot be made.
    pub fn build_node(&mut self) -> Result<&mut Node> {
        self.build_node_with(SwtpmOptions::default())
    }

    /// Adds a machine with a TPM made as asked.
    ///
    /// # Errors
    /// When the TPM cannot be made.
    pub fn build_node_with(&mut self, tpm: SwtpmOptions) -> Result<&mut Node> {
        let authority = self.ek_authority.clone();
        self.build_node_from(&authority, tpm)
    }

    /// Adds a machine whose TPM comes from another manufacturer.
    ///
    /// # Errors
    /// When the TPM cannot be made.
    pub fn build_node_from(&mut self, authority: &EkAuthority, tpm: SwtpmOptions) -> Result<&mut Node> {
        let name = format!("node-{}", self.nodes.len() + 1);
        let options = NodeOptions {
            name: name.clone(),
            trust_domain: self.options.trust_domain.clone(),
            server_address: self.server.address(),
            bundle_file: self.bundle_file(),
            tpm,
        };
        self.nodes
            .push(Node::build(&self.options.folder.join(name), authority, options)?);
        self.nodes.last_mut().context("the node just added")
    }

    /// Starts the server and writes its trust bundle for the agents. The manufacturer's root exists only
    /// once a first TPM was made: build a node before.
    ///
    /// # Errors
    /// When the server does not become ready.
    pub fn start_server(&mut self) -> Result<()> {
        self.server.start()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bundle = runtime.block_on(async {
            let mut client = AdminClient::connect(&self.server.admin_socket()).await?;
            anyhow::Ok(
                client
                    .bundle
                    .get_bundle(GetBundleRequest { output_mask: None })
                    .await?
                    .into_inner(),
            )
        })?;
        let pem: String = bundle
            .x509_authorities
            .iter()
            .map(|authority| pem(&authority.asn1))
            .collect();
        Ok(fs::write(self.bundle_file(), pem)?)
    }

    /// The server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// The machines, in the order of their making.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// One machine.
    ///
    /// # Errors
    /// When there is none of this index.
    pub fn node(&mut self, index: usize) -> Result<&mut Node> {
        self.nodes
            .get_mut(index)
            .with_context(|| format!("the lab has no node {index}"))
    }

    /// Gives the machine `copy` the TPM of the machine `original`, as whoever copies a virtual machine's folders does: both
    /// are turned off, the state is copied, and both are turned on, the copy first.
    ///
    /// # Errors
    /// When there are no two such machines, or a TPM does not come up.
    pub fn clone_tpm(&mut self, original: usize, copy: usize) -> Result<()> {
        let state = self.node(original)?.power_off();
        let target = self.node(copy)?.power_off();
        fs::remove_dir_all(&target)?;
        fs::create_dir_all(&target)?;
        for file in fs::read_dir(&state)? {
            let file = file?;
            fs::copy(file.path(), target.join(file.file_name()))?;
        }
        self.node(copy)?.reboot()?;
        self.node(original)?.reboot()
    }

    /// The manufacturer of its TPMs.
    #[must_use]
    pub fn ek_authority(&self) -> &EkAuthority {
        &self.ek_authority
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// The trust bundle, PEM.
    #[must_use]
    pub fn bundle_file(&self) -> PathBuf {
        self.options.folder.join("bundle.pem")
    }

    /// What it is made of.
    ///
    /// # Errors
    /// When a part does not run.
    pub fn report(&self) -> Result<LabReport> {
        let nodes = self.nodes.iter().map(|node| {
            Ok(NodeReport {
                name: node.name().to_owned(),
                agent_id: node.agent_id()?,
                workload_api: node.workload_api(),
                tpm: node.tpm().tcti(),
                config_file: node.config_file(),
                pid: node
                    .pid()
                    .with_context(|| format!("the agent of {} does not run", node.name()))?,
            })
        });
        Ok(LabReport {
            trust_domain: self.options.trust_domain.clone(),
            server: ServerReport {
                address: self.server.address(),
                admin_socket: self.server.admin_socket(),
                bundle_file: self.bundle_file(),
                config_file: self.server.config_file(),
                pid: self.server.pid().context("the server does not run")?,
            },
            nodes: nodes.collect::<Result<_>>()?,
        })
    }
}

/// One certificate in PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
