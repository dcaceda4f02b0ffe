//! The trust domain that is measured: a lab with two machines, and a TPM vendor of the bench's own.

use anyhow::{Context as _, Result, ensure};
use hallmark_api::entry::BatchCreateEntryRequest;
use hallmark_api::types::{Entry, Selector, Spiffeid};
use hallmark_kit::{AdminClient, Lab, LabOptions};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const TRUST_DOMAIN: &str = "bench.test";
/// The label of its first authority key in the token.
pub(crate) const AUTHORITY_KEY: &str = "hallmark-x509-bench.test-1";

/// A running lab. Its server also trusts `vendor`, so that machines in software can attest without a TPM's slowness.
pub(crate) struct Domain {
    pub(crate) lab: Lab,
    pub(crate) vendor: VendorCa,
    pub(crate) runtime: Runtime,
    uid: u32,
    // Dropped last: the lab's files lie in it.
    _folder: TempDir,
}

impl Domain {
    pub(crate) fn up() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let vendor = VendorCa::new();
        let root = folder.path().join("vendor-root.der");
        std::fs::write(&root, vendor.root_der())?;
        let options = LabOptions {
            folder: folder.path().join("lab"),
            trust_domain: TRUST_DOMAIN.into(),
            nodes: 0,
        };
        let mut lab = Lab::lay_out(options)?;
        for _ in 0..2 {
            lab.build_node()?;
        }
        let roots = [lab.ek_authority().root(), lab.ek_authority().issuer(), root];
        lab.server().trust(&roots);
        lab.server().take_ek_templates(SoftwareMachine::EK_TEMPLATES);
        lab.start_server()?;
        for node in lab.nodes() {
            node.start()?;
        }
        let uid = std::fs::metadata(folder.path())?.uid();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self {
            lab,
            vendor,
            runtime,
            uid,
            _folder: folder,
        })
    }

    pub(crate) fn address(&mut self) -> String {
        self.lab.server().address()
    }

    pub(crate) fn server_pid(&mut self) -> Result<u32> {
        self.lab.server().pid().context("the server does not run")
    }

    /// The machine's Workload API socket and its agent's process id.
    pub(crate) fn agent(&mut self, index: usize) -> Result<(PathBuf, u32)> {
        let node = self.lab.node(index)?;
        Ok((node.workload_api(), node.pid().context("the agent does not run")?))
    }

    pub(crate) fn agent_id(&mut self, index: usize) -> Result<Spiffeid> {
        let id = self.lab.node(index)?.agent_id()?;
        let path = id
            .strip_prefix("spiffe://")
            .and_then(|id| id.strip_prefix(TRUST_DOMAIN));
        Ok(spiffe_id(path.context("an agent of another trust domain")?))
    }

    /// Registers `count` entries of this user's processes below an agent; returns their ids.
    pub(crate) fn register(&mut self, parent: &Spiffeid, name: &str, count: usize) -> Result<Vec<String>> {
        let entry = |n| Entry {
            spiffe_id: Some(spiffe_id(&format!("/{name}/{n}"))),
            parent_id: Some(parent.clone()),
            selectors: vec![Selector {
                r#type: "unix".into(),
                value: format!("uid:{}", self.uid),
            }],
            ..Entry::default()
        };
        let request = BatchCreateEntryRequest {
            entries: (0..count).map(entry).collect(),
            output_mask: None,
        };
        let socket = self.lab.server().admin_socket();
        let results = self.runtime.block_on(async {
            let mut admin = AdminClient::connect(&socket).await?;
            anyhow::Ok(admin.entry.batch_create_entry(request).await?.into_inner().results)
        })?;
        let ids = results.into_iter().map(|result| {
            let status = result.status.context("no status")?;
            ensure!(status.code == 0, "an entry was not created: {}", status.message);
            Ok(result.entry.context("no entry")?.id)
        });
        ids.collect()
    }
}

fn spiffe_id(path: &str) -> Spiffeid {
    Spiffeid {
        trust_domain: TRUST_DOMAIN.into(),
        path: path.into(),
    }
}

/// The id of what a server issued.
pub(crate) fn id_of(svid: &hallmark_api::types::X509svid) -> Result<Spiffeid> {
    svid.id.clone().context("an SVID without an id")
}
